//! Which role may stand below which.

use super::*;

fn ranks() -> Ranks {
    let roles = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect::<Vec<_>>();
    Ranks::new([
        ("ucaas".into(), roles(&["administrator", "reseller", "customer", "user"])),
        ("cpaas".into(), roles(&["administrator", "customer", "robot"])),
    ])
}

fn judged() -> AccountFile {
    let mut file = open(FILE);
    file.judge_roles_by(&ranks());
    file
}

fn add(role: &str, parent: &str) -> Result<(), EditError> {
    judged().add_account(&NewAccount { id: "new", role, parent: Some(parent), email: None, password: None })
}

#[track_caller]
fn out_of_rank<T>(outcome: Result<T, EditError>, expected: (&str, &str, &str)) -> String {
    match outcome.err() {
        Some(EditError::Rank { id, above, realm, role, above_role }) => {
            assert_eq!((id.as_str(), above.as_str(), realm.as_str()), expected);
            EditError::Rank { id, above, realm, role, above_role }.to_string()
        }
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn an_account_stands_below_higher_roles_only() {
    out_of_rank(add("reseller", "cus-42"), ("new", "cus-42", "ucaas"));
    out_of_rank(add("customer", "cus-42"), ("new", "cus-42", "ucaas"));
    out_of_rank(add("administrator", "root"), ("new", "root", "ucaas"));
    for (role, parent) in [("user", "cus-42"), ("user", "root"), ("reseller", "root"), ("robot", "cus-42")] {
        add(role, parent).unwrap();
    }
    judged().add_account(&NewAccount { id: "new", role: "user", parent: None, email: None, password: None }).unwrap();
}

#[test]
fn the_refusal_says_who_where_and_the_way_out() {
    let message = out_of_rank(add("reseller", "cus-42"), ("new", "cus-42", "ucaas"));
    for part in ["`new` is a reseller", "`cus-42`, a customer", "realm `ucaas`", "choose a parent further up"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_role_that_no_realm_compares_is_not_judged_and_what_is_above_is() {
    let mut file = judged();
    file.add_account(&NewAccount { role: "robot", ..account("bot", Some("res-7")) }).unwrap();
    file.add_account(&NewAccount { role: "user", ..account("usr", Some("bot")) }).unwrap();
    let below_the_robot = file.add_account(&NewAccount { role: "reseller", ..account("res", Some("bot")) });
    out_of_rank(below_the_robot, ("res", "res-7", "ucaas"));
}

#[test]
fn a_move_is_judged_for_the_whole_subtree() {
    let mut file = judged();
    file.add_account(&NewAccount { role: "robot", ..account("bot", None) }).unwrap();
    file.add_account(&NewAccount { role: "reseller", ..account("res", Some("bot")) }).unwrap();
    let before = file.text();
    out_of_rank(file.move_account("res-7", Some("res-8")), ("res-7", "res-8", "ucaas"));
    out_of_rank(file.move_account("bot", Some("cus-42")), ("res", "cus-42", "ucaas"));
    assert_eq!(file.text(), before);
    assert_eq!(file.move_account("cus-42", Some("res-8")).unwrap(), Change::Changed);
    assert_eq!(file.move_account("bot", Some("root")).unwrap(), Change::Changed);
}

#[test]
fn an_edit_does_not_forget_the_ranks() {
    let mut file = judged();
    file.set_status("root", true).unwrap();
    out_of_rank(file.move_account("res-8", Some("res-7")), ("res-8", "res-7", "ucaas"));
}
