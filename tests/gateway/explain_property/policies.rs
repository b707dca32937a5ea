//! The policies that the random requests of the property of explain meet: rules of every kind.
//!
//! Used by that test alone. The paths, headers and ids that `dice` draws are those that stand here; a rule added here is met
//! once `dice` knows its path.

/// Realms that differ in depth, schemes and roles; one lies inside another's base.
pub(super) const POLICIES: [(&str, &str); 3] = [("maze", MAZE), ("cell", CELL), ("keys", KEYS)];

const MAZE: &str = r#"
[realm]
name = "maze"
base = "/m"
roles = ["administrator", "reseller", "customer", "user"]
schemes = ["basic", "token"]
upstream = "lab"
quotas = ["address"]
networks = { reseller = ["10.0.0.0/8", "127.0.0.0/8"], user = ["10.1.0.0/16", "192.0.2.0/24", "127.0.0.1/32"] }

[login]
login = "POST /login"
logout = "POST /logout"

[quota.address]
per = "address"
rate = "100000/s"

[quota.own]
per = "principal"
rate = "100000/s"

[quota.customer]
per = "customer"
in_flight = 1000

[[route]]
name = "open"
match = ["GET /open/{*rest}", "POST /open/{*rest}"]
public = true
headers = ["X-Api-Id"]
upstream = "other"

[[route]]
name = "free"
match = "GET /free"
public = true
app_types = ["vc", "wb"]

[[route]]
name = "own"
match = ["GET /own/{id}", "PUT /own/{id}"]
allow = { administrator = "own", reseller = "own", customer = "own", user = "own" }
target = "path.id"
quotas = ["own"]

[[route]]
name = "below"
match = ["GET /below/{id}", "DELETE /below/{id}"]
allow = { administrator = "below", reseller = "below", customer = "below" }
target = "path.id"
quotas = ["own", "customer"]

[[route]]
name = "subtree"
match = "GET /subtree/{id}"
allow = ["administrator", "reseller", "customer", "user"]
target = "path.id"

[[route]]
name = "any"
match = "GET /any/{id}"
allow = { administrator = "any", user = "any" }
target = "path.id"
upstream = "other"

[[route]]
name = "customers"
match = "GET /customers/{id}/users/{user}"
allow = ["administrator", "reseller", "customer"]
target = "path.id"
target_role = "customer"

[[route]]
name = "customers.self"
match = "GET /customers/me/users/{user}"
allow = { customer = "below" }
target = "path.user"

[[route]]
name = "query"
match = "GET /query"
allow = { administrator = "subtree", reseller = "below", customer = "subtree", user = "own" }
target = "query.account"

[[route]]
name = "optional"
match = "GET /optional"
allow = { administrator = "subtree", reseller = "below", user = "own" }
target = "query.account?"

[[route]]
name = "header"
match = ["GET /header", "POST /header"]
allow = { administrator = "subtree", reseller = "subtree", user = "own" }
target = "header.X-Account"
strip_base = true

[[route]]
name = "list"
match = "GET /list"
allow = { administrator = "any", reseller = "below", customer = "subtree", user = "own" }

[[route]]
name = "apps"
match = ["GET /apps", "POST /apps"]
allow = ["administrator", "customer", "user"]
app_types = ["vc", "wb"]
headers = ["X-Tenant", "X-Trace"]

[[route]]
name = "small"
match = ["POST /small", "PUT /small", "PATCH /small"]
allow = ["administrator", "reseller", "customer", "user"]
body_size = "64B"
forward_authorization = true

[[route]]
name = "off"
match = ["GET /off", "POST /off"]
allow = ["administrator"]
enabled = false

[[route]]
name = "narrow"
match = ["GET /narrow", "POST /narrow"]
allow = ["administrator"]
"#;

const CELL: &str = r#"
[realm]
name = "cell"
base = "/m/cell"
roles = ["administrator", "user"]
schemes = ["basic"]
upstream = "other"

[[route]]
name = "all"
match = ["GET /all/{id}", "POST /all/{id}"]
allow = { administrator = "subtree", user = "own" }
target = "path.id"

[[route]]
name = "rest"
match = "GET /rest/{*rest}"
allow = { administrator = "below" }
"#;

const KEYS: &str = r#"
[realm]
name = "keys"
base = "/k"
roles = ["administrator", "reseller", "customer", "user"]
schemes = ["token"]
upstream = "lab"

[login]
login = "POST /login"
logout = "POST /logout"

[[route]]
name = "list"
match = "GET /list"
allow = { administrator = "subtree", reseller = "below", user = "own" }

[[route]]
name = "own"
match = "GET /own/{id}"
allow = { administrator = "subtree", reseller = "below", customer = "below", user = "own" }
target = "path.id"
"#;
