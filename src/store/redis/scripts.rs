//! The scripts that the Redis backend runs on the server, each beside this file. A script touches keys of one slot.
//!
//! The backend's verbs name them; how a script gets to the server is `link`'s part. The scripts read the server's own
//! clock, so that gateways whose clocks differ agree on what is over.

use std::sync::LazyLock;

use redis::Script;

macro_rules! script {
    ($name:ident, $($file:literal),+) => {
        pub(super) static $name: LazyLock<Script> = LazyLock::new(|| Script::new(concat!($(include_str!($file)),+)));
    };
}

script!(START, "start.lua");
script!(ENTER, "enter.lua");
// Where all keys are in one place, and a login asks once.
script!(START_AND_ENTER, "start.lua", "enter.lua");
script!(END, "end.lua");
script!(MARK, "mark.lua");
script!(FAIL, "fail.lua");
script!(CLEAR, "clear.lua");
script!(SEE, "see.lua");
script!(DRAW, "bucket.lua", "draw.lua");
script!(GIVE_BACK, "bucket.lua", "give_back.lua");
script!(LIVE, "live.lua");
