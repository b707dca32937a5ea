//! The matrix of the shipped policies fits, whatever is in it; filters choose what they say.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use super::show;
use crate::cli::args::{ConfigArgs, Format, RoutesArgs};
use crate::cli::{Exit, Stop};
use crate::config::load::{Config, Files, Unread, load};

struct InMemory(HashMap<&'static str, String>);

impl Files for InMemory {
    fn read(&self, path: &Path) -> Result<String, Unread> {
        self.0.get(path.to_str().unwrap()).cloned().ok_or_else(|| "no such file".to_owned().into())
    }
}

const UPSTREAMS: &str =
    "[upstreams.meeting]\nservers = [\"127.0.0.1:1\"]\n[upstreams.provisioning]\nservers = [\"127.0.0.1:2\"]\n";

fn config(policies: &[(&'static str, &str)]) -> Config {
    let names: Vec<&str> = policies.iter().map(|(name, _)| *name).collect();
    let mut files: HashMap<_, _> = policies.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
    files.insert("gateway.toml", format!("{UPSTREAMS}[policies]\ninclude = {names:?}\n"));
    let loading = load(Path::new("gateway.toml"), &InMemory(files));
    let faults: Vec<String> = loading.faults.iter().map(ToString::to_string).collect();
    loading.config.unwrap_or_else(|| panic!("{faults:#?}"))
}

fn shipped() -> Config {
    config(&[
        ("ucaas.toml", include_str!("../../../policies/ucaas.toml")),
        ("cpaas.toml", include_str!("../../../policies/cpaas.toml")),
        ("nested-quotas.toml", include_str!("../../../policies/nested-quotas.toml")),
    ])
}

fn everything() -> RoutesArgs {
    RoutesArgs {
        config: ConfigArgs { config: "gateway.toml".into() },
        public: false,
        role: None,
        path: None,
        upstream: None,
        format: Format::Text,
    }
}

fn written(args: &RoutesArgs, config: &Config) -> String {
    let mut out = Vec::new();
    assert_eq!(show(args, config, &mut out).unwrap(), Exit::Ok);
    String::from_utf8(out).unwrap()
}

/// `METHOD path` of every row of every realm, the base in front.
fn rows(args: RoutesArgs, config: &Config) -> Vec<String> {
    let text = written(&RoutesArgs { format: Format::Json, ..args }, config);
    let rows: Value = serde_json::from_str(&text).unwrap();
    let matches = rows.as_array().unwrap().iter().flat_map(|row| row["matches"].as_array().unwrap());
    matches.map(|line| line.as_str().unwrap().to_owned()).collect()
}

fn assert_fits(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{} columns: {line}", line.chars().count());
    }
}

#[test]
fn the_shipped_matrix_is_readable_in_a_hundred_columns() {
    let config = shipped();
    let text = written(&everything(), &config);
    assert_fits(&text);
    let rows = rows(everything(), &config);
    assert!(rows.len() >= 50, "{}", rows.len());
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    for realm in config.snapshot.realms() {
        assert!(text.contains(&format!("{}  {}  (", realm.name, realm.base)));
        for (method, pattern) in realm.routes.iter().flat_map(|route| &route.matches) {
            let whole = [method.name(), &pattern.to_string()];
            assert!(lines.iter().any(|line| line.starts_with(&whole)), "{whole:?} is not in one piece");
        }
    }
    assert!(lines.contains(&vec!["administrator", "reseller", "customer", "user", "upstream"]));
    assert!(lines.contains(&vec!["GET", "/customers/{customer_id}", "subtree", "below", "-", "-", "provisioning"]));
    assert!(lines.contains(&vec!["POST", "/session/join", "public", "public", "public", "public", "meeting"]));
    assert!(lines.contains(&vec!["POST", "/sessions/join", "public", "public", "public", "public", "\""]));
}

#[test]
fn whatever_is_long_fits_and_is_not_lost() {
    let roles: Vec<String> = (1..=16).map(|place| format!("role-of-a-long-name-{place}")).collect();
    let long =
        "/a-literal-of-some-length/{a_parameter_with_a_long_name}/another-literal-that-is-long/{and_one_more}/{*rest}";
    let policy = |roles: &[String]| {
        format!(
            "[realm]\nname = \"long\"\nbase = \"/long\"\nroles = {roles:?}\nschemes = [\"basic\"]\n\
             upstream = \"provisioning\"\n[[route]]\nname = \"one\"\nmatch = [\"GET {long}\", \"GET /short\"]\n\
             allow = {roles:?}\n"
        )
    };
    for count in [1, 4, 6, 16] {
        let config = config(&[("long.toml", policy(&roles[..count]).as_str())]);
        let text = written(&everything(), &config);
        assert_fits(&text);
        let pieces: String = text.lines().map(|line| line.trim().split("  ").next().unwrap()).collect();
        let (squeezed, wanted) = (pieces.replace(' ', ""), format!("GET{long}"));
        let found = squeezed.contains(&wanted) || squeezed.contains(&wanted.replace("GET", ""));
        assert!(found, "{count}: {text}");
        for role in &roles[..count] {
            assert!(text.contains(role.as_str()), "{role} is not told in full: {text}");
        }
        assert!(text.contains("provisioning") && text.contains("GET /short"), "{text}");
    }
}

#[test]
fn names_of_roles_are_cut_only_with_their_full_names_above() {
    let roles = ["controller", "distributor", "participant", "salesperson", "technician", "undersecretary"];
    let policy = format!(
        "[realm]\nname = \"six\"\nbase = \"/six\"\nroles = {roles:?}\nschemes = [\"basic\"]\nupstream = \"meeting\"\n\
         [[route]]\nname = \"one\"\nmatch = \"GET /one\"\nallow = [\"participant\"]\n"
    );
    let text = written(&everything(), &config(&[("six.toml", policy.as_str())]));
    assert_fits(&text);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    assert!(lines.contains(&"unders… = undersecretary"), "{text}");
    let head = "contro… distri… partic… salesp… techni… unders… upstream";
    assert!(lines.contains(&head), "{text}");
    let row: Vec<&str> = lines.iter().find(|line| line.starts_with("GET /one")).unwrap().split_whitespace().collect();
    assert_eq!(row, ["GET", "/one", "-", "-", "subtree", "-", "-", "-", "meeting"]);
}

#[test]
fn filters_choose_by_role_path_upstream_and_publicity() {
    let config = shipped();
    let all = rows(everything(), &config);
    let public = rows(RoutesArgs { public: true, ..everything() }, &config);
    assert_eq!(
        public,
        [
            "POST /nested/v1/session/join",
            "POST /nested/v1/login",
            "POST /ucaas/v1/session/join",
            "POST /ucaas/v1/sessions/join",
            "POST /ucaas/v1/login",
        ]
    );
    let user = rows(RoutesArgs { role: Some("user".into()), ..everything() }, &config);
    assert!(user.iter().all(|row| all.contains(row)) && user.len() < all.len());
    assert!(user.contains(&"GET /ucaas/v1/sessions".into()) && !user.contains(&"GET /ucaas/v1/users".into()));
    assert!(user.contains(&"POST /ucaas/v1/session/join".into()), "who has a role may call what is public, too");
    assert!(user.iter().all(|row| !row.contains("/cpaas")), "the realm has no such role");
    let path = rows(RoutesArgs { path: Some("/projects/".into()), ..everything() }, &config);
    assert_eq!(path, ["GET /cpaas/projects/{app_id}", "PATCH /cpaas/projects/{app_id}"]);
    let own = rows(RoutesArgs { upstream: Some("gateway".into()), ..everything() }, &config);
    assert!(own.iter().all(|row| row.ends_with("/login") || row.ends_with("/logout")) && own.len() == 4, "{own:?}");
    let both = RoutesArgs { upstream: Some("meeting".into()), path: Some("/cpaas".into()), ..everything() };
    assert_eq!(rows(both, &config), ["GET /cpaas/video-cdr"]);
    let nothing = RoutesArgs { path: Some("/nowhere".into()), ..everything() };
    assert_eq!(written(&nothing, &config), "no route matches\n");
    assert_eq!(rows(nothing, &config), Vec::<String>::new());
}

#[test]
fn a_role_or_upstream_that_is_not_there_is_a_slip_of_the_pen() {
    let config = shipped();
    let refused = |args: RoutesArgs| -> Stop { show(&args, &config, &mut Vec::new()).unwrap_err() };
    let stop = refused(RoutesArgs { role: Some("reseler".into()), ..everything() });
    assert_eq!(
        (stop.exit, stop.message.as_str()),
        (Exit::Usage, "no realm has a role `reseler`; did you mean `reseller`?")
    );
    let stop = refused(RoutesArgs { upstream: Some("meting".into()), ..everything() });
    assert_eq!((stop.exit, stop.message.as_str()), (Exit::Usage, "no upstream `meting`; did you mean `meeting`?"));
}

#[test]
fn json_has_everything_that_a_route_says() {
    let config = shipped();
    let args = RoutesArgs { path: Some("/ucaas/v1/meeting/permanent/{".into()), format: Format::Json, ..everything() };
    let rows: Value = serde_json::from_str(&written(&args, &config)).unwrap();
    let row = rows.as_array().unwrap().iter().find(|row| row["route"] == "meeting.permanent.user").unwrap();
    assert_eq!(row["target"], "path.user_id");
    assert_eq!(row["app_types"], serde_json::json!(["vc", "wb"]));
    assert_eq!(row["allow"], serde_json::json!({ "administrator": "below", "customer": "below", "reseller": "below" }));
    assert_eq!(row["schemes"], serde_json::json!(["basic", "token"]));
    assert_eq!((&row["upstream"], &row["forward_authorization"]), (&"meeting".into(), &false.into()));
    assert!(row["quotas"].as_array().unwrap().iter().any(|quota| quota["quota"] == "standard"));
    assert!(row["location"].as_str().unwrap().starts_with("ucaas.toml:"));
    let args = RoutesArgs { path: Some("/cpaas/projects".into()), format: Format::Json, ..everything() };
    let rows: Value = serde_json::from_str(&written(&args, &config)).unwrap();
    assert_eq!(rows[0]["target"], "query.customer_id?");
}
