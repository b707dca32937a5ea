//! What an accounts file may hold, and what is refused.

use super::*;

const KEY: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn parse(text: &str) -> (Option<Records>, Vec<String>) {
    let source = Arc::new(Source { name: "accounts.toml".into(), text: text.to_owned() });
    let mut faults = Faults::default();
    let records = super::parse(&source, &Vocabulary::default(), &mut faults);
    (records, faults.iter().map(ToString::to_string).collect())
}

#[test]
fn a_tree_with_credentials_is_read() {
    let text = format!(
        "[[account]]\nid='root'\nrole='administrator'\n[[account]]\nid='c'\nrole='customer'\nparent='root'\nstatus='suspended'\n\
         email='Ops@Example.com'\n[[account]]\nid='u'\nrole='user'\nparent='c'\n\
         [[credential]]\nid='k'\naccount='c'\nkey='{KEY}'\nrealms=['ucaas']\nnot_after=2027-01-01T00:00:00Z\n"
    );
    let (records, faults) = parse(&text);
    let records = records.unwrap_or_else(|| panic!("{faults:#?}"));
    assert!(faults.is_empty(), "{faults:#?}");
    let user = records.account("u").unwrap();
    assert_eq!((user.lineage.as_str(), user.suspended), ("root/c/u", true));
    assert!(!records.account("root").unwrap().suspended);
    let credential = records.credential("k").unwrap();
    assert!(credential.is_for("ucaas") && !credential.is_for("cpaas"));
    assert!(credential.is_current(1_798_761_599) && !credential.is_current(1_798_761_600));
    assert_eq!(&*records.user("ops@example.com").unwrap().account, "c");
    assert!(records.user("Ops@Example.com").is_none());
}

#[test]
fn every_fault_of_a_file_is_named_with_its_place() {
    let cases = [
        ("[[account]]\nid='a'\nrole='r'\nparent='b'\n", "4:8: fault: no account `b`"),
        ("[[account]]\nid='a'\nrole='r'\nparent='b'\n[[account]]\nid='b'\nrole='r'\nparent='a'\n", "its own ancestor"),
        ("[[account]]\nid='a b'\nrole='r'\n", "2:4: fault: an account id"),
        ("[[account]]\nid='a'\nrole='r'\n[[account]]\nid='a'\nrole='r'\n", "stands twice, first in line 2"),
        ("[[account]]\nid='a'\nrole='r'\nemail='x'\n", "4:7: fault: `x` is no e-mail"),
        ("[[account]]\nid='a'\nrole='r'\npassword='hunter2'\n", "no PHC string"),
        ("[[account]]\nid='a'\nrole='r'\nstatus='gone'\n", "`gone` is not possible here"),
        ("[[account]]\nid='a'\nrole='r'\nstats='x'\n", "did you mean `status`?"),
        ("[[credential]]\nid='k'\naccount='a'\nkey='hunter2'\nrealms=[]\n", "no digest"),
        (
            "[[account]]\nid='a'\nrole='r'\n[[credential]]\nid='k'\naccount='b'\nkey='sha256:00'\n",
            "no account `b` (known: `a`)",
        ),
        ("[[acount]]\nid='a'\n", "unknown key `acount`"),
    ];
    for (text, expected) in cases {
        let (records, faults) = parse(text);
        assert!(records.is_none(), "{text}");
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{expected}: {faults:#?}");
        assert!(!faults.iter().any(|fault| fault.contains("hunter2")), "{faults:#?}");
    }
}

#[test]
fn costly_password_hashes_are_refused_and_odd_ones_warned_of() {
    let file = |costs: &str| {
        format!(
            "[[account]]\nid='a'\nrole='r'\nemail='a@b'\npassword='$argon2id$v=19${costs}$c29tZXNhbHRzb21l$MDEyMzQ1Njc4OWFiY2RlZg'\n"
        )
    };
    assert!(parse(&file("m=19456,t=2,p=1")).1.is_empty());
    assert!(parse(&file("m=70000,t=2,p=1")).0.is_none());
    assert!(parse(&file("m=19456,t=11,p=1")).0.is_none());
    let (records, faults) = parse(&file("m=4096,t=3,p=1"));
    assert!(records.is_some() && faults[0].contains("warning"), "{faults:#?}");
}

#[test]
fn e_mails_have_one_canonical_form() {
    assert_eq!(canonical_email("A@B.c").as_deref(), Some("a@b.c"));
    for odd in ["", "a", "a@", "@b", "a@b@c", " a@b", "a@b ", "é@b", "a@b\0", &format!("{}@b", "a".repeat(253))] {
        assert_eq!(canonical_email(odd), None, "{odd:?}");
    }
}

#[test]
fn the_schema_takes_what_is_read_and_refuses_what_is_not() {
    let judge = crate::config::schema::judge::Judge::of(&schema());
    let shipped = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/policies/accounts.toml")).unwrap();
    assert_eq!(judge.faults(&shipped), Vec::<String>::new());
    let password = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21l$MDEyMzQ1Njc4OWFiY2RlZg";
    let account = format!(
        "[[account]]\nid = 'a'\nrole = 'user'\nstatus = 'suspended'\nemail = 'a@b.example'\npassword = '{password}'\n"
    );
    let peppered = KEY.replace("sha256:", "hmac-sha256:p1:");
    let credential = format!(
        "[[credential]]\nid = 'k'\naccount = 'a'\nkey = '{peppered}'\nrealms = ['r']\nlabel = 'x'\n\
         not_before = 2026-01-01T00:00:00Z\nnot_after = 2027-01-01T00:00:00+01:00\n"
    );
    let good = format!("{account}{credential}");
    assert!(parse(&good).0.is_some(), "{:#?}", parse(&good).1);
    assert_eq!(judge.faults(&good), Vec::<String>::new());
    for (from, to) in [
        ("'suspended'", "'gone'"),
        ("a@b.example", "a.b.example"),
        ("$argon2id$", "$argon2i$"),
        ("hmac-sha256:p1:", "md5:"),
        ("id = 'k'", "id = 'k k'"),
        ("label", "lable"),
        ("not_after = 2027-01-01T00:00:00+01:00", "not_after = 'tomorrow'"),
        ("role = 'user'\n", ""),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good, "{from}");
        assert!(!judge.faults(&bad).is_empty(), "{to}");
        assert!(parse(&bad).0.is_none(), "{to}");
    }
    let bad = good.replace("[[credential]]", "[[credentials]]");
    assert!(!judge.faults(&bad).is_empty() && parse(&bad).0.is_none());
}
