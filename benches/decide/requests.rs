//! The requests of bench `decide`, and the large policy that half of them are judged by.
//!
//! Both are texts, made by rule and the same at every run; `world` reads them as the gateway would.

use std::path::Path;

use portcullis::config::load::{Files, Unread};

/// Requests over the shipped policies, by [`Kind`]; `#` becomes a number.
pub(crate) fn shipped_requests() -> [Vec<String>; 4] {
    requests([
        &[
            "usr-# GET /ucaas/v1/meetings?page=#&limit=20",
            "usr-# GET /ucaas/v1/contacts",
            "usr-# GET /ucaas/v1/timezones",
            "usr-# GET /ucaas/v1/meetings",
            "usr-# POST /ucaas/v1/meetings",
            "usr-# GET /ucaas/v1/groups/#",
            "usr-# PATCH /ucaas/v1/meetings/#",
            "usr-# GET /ucaas/v1/meetings/permanent",
        ],
        &[
            "res-7 GET /ucaas/v1/users/usr-#",
            "res-7 PATCH /ucaas/v1/users/usr-#",
            "res-7 DELETE /ucaas/v1/users/usr-#",
            "res-7 GET /ucaas/v1/users/usr-#?fields=all",
            "root GET /ucaas/v1/users/usr-#",
        ],
        &[
            "usr-# GET /ucaas/v1/customers",
            "usr-# GET /ucaas/v1/customers/cus-1",
            "usr-# GET /ucaas/v1/users?page=#",
            "usr-# POST /ucaas/v1/users",
            "usr-# GET /ucaas/v1/subscriptions/#",
        ],
        &[
            "usr-# GET /ucaas/v1/meeting",
            "usr-# GET /ucaas/v1/meetings/#/files/1",
            "usr-# GET /ucaas/v1/admin/users",
            "usr-# POST /ucaas/v1/contacts/#/",
            "usr-# GET /ucaas/v1/v2/meetings",
        ],
    ])
}

/// The same kinds of requests over the generated policy; `@` becomes the name of a collection.
pub(crate) fn generated_requests() -> [Vec<String>; 4] {
    requests([
        &[
            "usr-# GET /ucaas/v1/@?page=#&limit=20",
            "usr-# GET /ucaas/v1/@",
            "usr-# GET /ucaas/v1/@/export",
            "usr-# GET /ucaas/v1/@/#/items",
            "usr-# GET /ucaas/v1/@/#/items/7",
        ],
        &[
            "res-7 GET /ucaas/v1/@/usr-#",
            "res-7 PATCH /ucaas/v1/@/usr-#",
            "res-7 DELETE /ucaas/v1/@/usr-#",
            "res-7 GET /ucaas/v1/@/usr-#?fields=all",
            "root GET /ucaas/v1/@/usr-#",
        ],
        &[
            "usr-# POST /ucaas/v1/@",
            "usr-# GET /ucaas/v1/@/usr-1",
            "usr-# PATCH /ucaas/v1/@/usr-#",
            "usr-# POST /ucaas/v1/@/#/items",
            "usr-# DELETE /ucaas/v1/@/#",
        ],
        &[
            "usr-# GET /ucaas/v1/@s",
            "usr-# GET /ucaas/v1/@/#/files/1",
            "usr-# GET /ucaas/v1/admin/users",
            "usr-# POST /ucaas/v1/@/#/",
            "usr-# GET /ucaas/v1/v2/@",
        ],
    ])
}

fn requests(kinds: [&[&str]; 4]) -> [Vec<String>; 4] {
    // A stride without a common factor spreads the calls over all collections.
    kinds.map(|texts| {
        let filled = |index: usize| {
            let text = texts[index % texts.len()].replace('#', &(index % CALLS).to_string());
            text.replace('@', &collection(index * 37 % COLLECTIONS))
        };
        (0..CALLS).map(filled).collect()
    })
}

/// A gateway with one realm of [`ROUTES`] routes, as literal and as nested as the shipped ones.
pub(crate) struct Generated;

impl Files for Generated {
    fn read(&self, path: &Path) -> Result<String, Unread> {
        match path.to_str() {
            Some("gateway.toml") => Ok("[upstreams.provisioning]\nservers = [\"127.0.0.1:9\"]\n\
                 [policies]\ninclude = [\"large.toml\"]\n"
                .to_owned()),
            Some("large.toml") => Ok(policy()),
            _ => Err("not generated".to_owned().into()),
        }
    }
}

fn policy() -> String {
    let mut text = format!(
        "[realm]\nname = \"{REALM}\"\nbase = \"/ucaas/v1\"\nroles = [\"administrator\", \"reseller\", \"customer\", \"user\"]\n\
         schemes = [\"basic\", \"token\"]\nupstream = \"provisioning\"\n"
    );
    const ALL: &str = "{ administrator = \"subtree\", reseller = \"subtree\", customer = \"subtree\", user = \"own\" }";
    const MANAGERS: &str = "{ administrator = \"subtree\", reseller = \"below\", customer = \"below\" }";
    const VC: &str = "app_types = [\"vc\", \"wb\"]\n";
    const TARGET: &str = "target = \"path.account_id\"\n";
    for name in (0..COLLECTIONS).map(collection) {
        let mut route = |action: &str, matches: &str, allow: &str, more: &str| {
            let matches = matches.replace('@', &name);
            text += &format!("[[route]]\nname = \"{name}.{action}\"\nmatch = \"{matches}\"\nallow = {allow}\n{more}");
        };
        route("list", "GET /@", ALL, VC);
        route("create", "POST /@", MANAGERS, "");
        route("export", "GET /@/export", ALL, "");
        route("get", "GET /@/{account_id}", MANAGERS, TARGET);
        route("edit", "PATCH /@/{account_id}", MANAGERS, TARGET);
        route("delete", "DELETE /@/{account_id}", MANAGERS, TARGET);
        route("items.list", "GET /@/{id}/items", ALL, VC);
        route("items.create", "POST /@/{id}/items", MANAGERS, "");
        route("items.get", "GET /@/{id}/items/{item_id}", ALL, "");
        route("items.delete", "DELETE /@/{id}/items/{item_id}", MANAGERS, "");
    }
    text
}

/// The name of a collection: every pair of a first and a second word is one.
fn collection(index: usize) -> String {
    const FIRST: [&str; 20] = [
        "call", "meeting", "voice", "video", "contact", "device", "number", "billing", "audit", "session", "room",
        "tenant", "report", "invoice", "partner", "message", "channel", "webhook", "archive", "profile",
    ];
    const SECOND: [&str; 25] = [
        "records", "policies", "groups", "lists", "tags", "plans", "limits", "keys", "events", "alerts", "roles",
        "rules", "notes", "files", "views", "links", "quotas", "scripts", "batches", "drafts", "labels", "themes",
        "pools", "queues", "routes",
    ];
    format!("{}-{}", FIRST[index % FIRST.len()], SECOND[index / FIRST.len() % SECOND.len()])
}

/// The realm of all requests.
pub(crate) const REALM: &str = "ucaas";
/// Routes of the large policy, the gateway's own login aside.
pub(crate) const ROUTES: usize = 5000;
/// Different calls of one kind; they take turns.
pub(crate) const CALLS: usize = 64;
/// Ten routes each.
const COLLECTIONS: usize = ROUTES / 10;
