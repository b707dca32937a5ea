//! What the cache keeps, drops and refuses to take.

use super::*;
use crate::policy::principal::Lineage;
use crate::store::Store;

fn account(path: &str) -> Arc<Account> {
    let lineage = Lineage::new(path.split('/').map(|id| (id, "role"))).unwrap();
    Arc::new(Account { lineage, suspended: false, password_mark: 0 })
}

fn known(token: &str, jti: &str, path: &str, started: u64, expires: u64) -> Known {
    Known::new(token, "r", jti.into(), account(path), Times { started, expires }, Asked { epoch: 0, at: 1 })
}

/// A store in memory: its feed stands still unless a test ends something.
fn store() -> Store {
    Store::memory()
}

fn keep(cache: &Cache, store: &Store, known: Known) {
    cache.insert(known, cache.since(store.feed()), store.feed(), 0);
}

#[test]
fn a_token_is_found_by_its_whole_text_and_in_its_realm_only() {
    let (cache, store) = (Cache::new(100), store());
    keep(&cache, &store, known("h.p.s", "j", "a/b", 1, 10));
    let found = cache.find("h.p.s", "r").unwrap();
    assert_eq!((&*found.jti, found.account().lineage.id(), found.expires), ("j", "b", 10));
    for (token, realm) in [("h.p.t", "r"), ("h.p.s", "q"), ("h.p.", "r"), ("", "r")] {
        assert!(cache.find(token, realm).is_none(), "{token} in {realm}");
    }
}

#[test]
fn what_news_is_about_is_dropped_and_nothing_else() {
    let fresh = || {
        let (cache, store) = (Cache::new(1000), store());
        for (token, path, started) in
            [("a", "root/res/cus", 5), ("b", "root/res/cus/usr", 5), ("c", "root/res/cus/usr", 6), ("d", "root/res", 5)]
        {
            keep(&cache, &store, known(token, &format!("j{token}"), path, started, 10));
        }
        cache
    };
    let left = |news: News<'_>| {
        let cache = fresh();
        cache.hear(&news);
        let left: String = ["a", "b", "c", "d"].into_iter().filter(|token| cache.find(token, "r").is_some()).collect();
        assert_eq!(cache.len(), left.len(), "what is over was dropped when it was looked for");
        left
    };
    assert_eq!(left(News::Session("jb")), "acd");
    assert_eq!(left(News::Session("j")), "abcd");
    assert_eq!(left(News::Account("cus", 5)), "bcd");
    assert_eq!(left(News::Account("usr", 5)), "acd");
    assert_eq!(left(News::Subtree("cus", 5)), "cd");
    assert_eq!(left(News::Subtree("root", 9)), "");
    assert_eq!(left(News::Subtree("re", 9)), "abcd");
    assert_eq!(left(News::Record("account", "cus")), "abcd");
}

#[test]
fn an_insert_that_an_invalidation_overtook_is_dropped() {
    let (cache, store) = (Cache::new(100), store());
    let since = cache.since(store.feed());
    store.feed().tell(&News::Session("another"));
    cache.insert(known("t", "j", "a", 1, 10), since, store.feed(), 0);
    assert!(cache.find("t", "r").is_none());
    keep(&cache, &store, known("t", "j", "a", 1, 10));
    assert!(cache.find("t", "r").is_some());
}

#[test]
fn other_signing_keys_empty_the_cache_and_stop_what_was_verified_with_the_old_ones() {
    let (cache, store) = (Cache::new(100), store());
    keep(&cache, &store, known("t", "j", "a", 1, 10));
    let since = cache.since(store.feed());
    cache.rekey();
    assert!(cache.is_empty());
    cache.insert(known("u", "k", "a", 1, 10), since, store.feed(), 0);
    assert!(cache.is_empty());
}

#[test]
fn the_bound_holds_and_what_is_used_or_alive_stays_longest() {
    let (cache, store) = (Cache::new(64), store());
    for n in 0..64 {
        keep(&cache, &store, known(&format!("t{n}"), &format!("j{n}"), "a", 1, if n % 2 == 0 { 1000 } else { 5 }));
    }
    assert_eq!(cache.len(), 64);
    for n in 0..64 {
        assert!(cache.find(&format!("t{n}"), "r").is_some());
    }
    // At second 7 half of them are over; so many newcomers find room without any other leaving.
    for n in 100..132 {
        let since = cache.since(store.feed());
        cache.insert(known(&format!("t{n}"), &format!("j{n}"), "a", 1, 1000), since, store.feed(), 7);
    }
    let alive = (0..64).filter(|n| cache.find(&format!("t{n}"), "r").is_some()).count();
    assert_eq!((alive, cache.len()), (32, 64));
    for n in 1000..3000 {
        let since = cache.since(store.feed());
        cache.insert(known(&format!("t{n}"), &format!("j{n}"), "a", 1, 1000), since, store.feed(), 7);
        assert!(cache.len() <= 64);
        assert!(cache.find(&format!("t{n}"), "r").is_some(), "the newest is kept");
    }
}

#[test]
fn more_watermarks_than_are_remembered_leave_nothing_to_be_believed() {
    let (cache, store) = (Cache::new(100), store());
    keep(&cache, &store, known("t", "j", "root/victim", 5, 10));
    cache.hear(&News::Account("victim", 5));
    for n in 0..marks::MOST {
        cache.hear(&News::Account(&format!("a{n}"), 5));
    }
    assert!(cache.find("t", "r").is_none() && cache.is_empty());
    keep(&cache, &store, known("u", "k", "root/victim", 6, 10));
    assert!(cache.find("u", "r").is_some(), "what the store vouched for since");
}

#[test]
fn the_same_token_twice_is_kept_once() {
    let (cache, store) = (Cache::new(100), store());
    for _ in 0..5 {
        keep(&cache, &store, known("t", "j", "a", 1, 10));
    }
    assert_eq!(cache.len(), 1);
    cache.forget("j");
    assert!(cache.is_empty() && cache.find("t", "r").is_none());
}

#[test]
fn readers_writers_and_news_at_once_leave_a_whole_cache() {
    let (cache, store) = (Cache::new(256), store());
    std::thread::scope(|threads| {
        for worker in 0..4u64 {
            let (cache, store) = (&cache, &store);
            threads.spawn(move || {
                for n in 0..4000u64 {
                    let name = (n * 7 + worker * 13) % 600;
                    match n % 4 {
                        0 => {
                            let path = format!("root/c{}", name % 9);
                            keep(cache, store, known(&format!("t{name}"), &format!("j{name}"), &path, n, 1000));
                        }
                        1 => cache.forget(&format!("j{name}")),
                        2 if n % 40 == 2 => cache.hear(&News::Subtree(&format!("c{}", name % 9), n)),
                        _ => {
                            if let Some(found) = cache.find(&format!("t{name}"), "r") {
                                assert_eq!(*found.jti, *format!("j{name}"));
                            }
                        }
                    }
                }
            });
        }
    });
    assert!(cache.len() <= 256);
    for n in 0..600 {
        cache.forget(&format!("j{n}"));
    }
    assert!(cache.is_empty(), "every entry was found by its session");
}
