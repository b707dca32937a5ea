//! Which test shows which of the shared cases that are told in steps: an id on the left, where it is shown on the right.
//! Where such a case and the contract disagree, the test shows what the contract says.
//!
//! Somebody who renames a test is told here. That the test shows the case is for its reader to judge.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// One case may need several tests.
const SHOWN: &[(&str, &str)] = &[
    ("REDIS-003", "outage_network::black_hole_costs_no_request_more_than_its_budget"),
    ("REDIS-004", "outage_network::slow_store_within_the_budget_slows_only_what_asks_it"),
    ("REDIS-005", "outage_network::store_slower_than_the_budget_is_an_outage_and_its_late_replies_reach_nobody"),
    ("REDIS-005", "outage_network::connections_that_are_reset_at_once_are_tried_ten_times_a_second_at_most"),
    ("REDIS-006", "outage_network::reset_in_the_middle_of_a_reply_is_never_half_an_answer"),
    ("REDIS-008", "known::unreadable_record_is_an_outage_for_its_token_alone"),
    ("REDIS-008", "sessions::record_that_cannot_be_read_is_store_unavailable"),
    ("REDIS-009", "known::record_of_an_older_release_is_no_outage_and_grants_nothing_new"),
    ("REDIS-010", "known::evicted_session_is_revoked_counted_and_warned_of"),
    ("REDIS-013", "outage_server::server_that_is_still_loading_is_an_outage"),
    ("REDIS-015", "known::full_store_gives_no_token_and_serves_every_session_it_has"),
    ("REDIS-015", "outage::store_that_takes_no_writes_gives_no_token"),
    ("REDIS-016", "outage_server::server_that_takes_no_more_clients_is_an_outage_without_a_busy_loop"),
    ("REDIS-019", "sessions::record_of_another_session_under_the_jti_is_token_invalid"),
    ("REDIS-020", "sessions::odd_session_ids_are_refused_and_run_no_command"),
    ("LOGIN-017", "lockout::wrong_passwords_end_in_429_and_the_right_one_gets_the_same_bytes"),
    ("LOGIN-018", "lockout::spellings_of_an_email_share_one_count"),
    ("LOGIN-019", "lockout::headers_of_a_client_that_is_no_proxy_change_no_count"),
    ("LOGIN-025", "outage_server::server_killed_under_load_refuses_nobody_it_knows"),
    ("JWT-043", "revocation::logout_at_one_gateway_ends_the_session_at_all_from_the_first_try_on"),
    ("JWT-044", "token::token_lives_exactly_until_exp_and_calls_do_not_renew_it"),
    ("JWT-044", "sessions::record_outlives_the_token_by_a_minute_and_no_call_renews_it"),
    ("JWT-046", "reload::signing_key_is_rotated_without_a_restart_and_without_a_5xx"),
    ("JWT-046", "reload::signing_key_is_rotated_the_same_way_on_a_shared_store"),
    ("BASIC-019", "timing::time_does_not_tell_an_unknown_api_id_from_a_wrong_key_or_one_that_is_almost_right"),
    ("BASIC-019", "timing::time_on_one_connection_does_not_tell_an_unknown_api_id_from_a_wrong_key_either"),
    ("BASIC-020", "basic::wrong_key_is_refused_each_time_after_the_right_one"),
    ("BASIC-021", "basic::what_is_remembered_is_the_identity_and_never_the_decision"),
    ("AUTHZ-013", "routes::role_names_compare_whole"),
    ("AUTHZ-014", "routes::empty_allow_list_refuses_to_start"),
    ("AUTHZ-015", "routes::literal_route_wins_in_both_orders_of_the_file"),
    ("AUTHZ-016", "scope::user_without_a_parent_is_never_forwarded_unscoped"),
    ("AUTHZ-018", "directory::role_taken_away_revokes_the_session_and_counts_at_once_for_the_credential"),
    ("CONF-001", "startup::broken_toml_is_65_from_serve_and_2_from_check_and_nothing_listens"),
    ("CONF-003", "watch::a_file_that_is_empty_or_cannot_be_read_keeps_the_old_policies"),
    ("CONF-005", "startup::several_faults_are_all_reported_in_one_run"),
    ("CONF-007", "broken::every_case_is_told_word_for_word_and_place_for_place"),
    ("CONF-008", "broken::every_case_is_told_word_for_word_and_place_for_place"),
    ("CONF-010", "reload_live::an_upstream_that_is_away_keeps_no_gateway_from_starting"),
    ("CONF-011", "startup::short_secret_is_refused_without_being_shown"),
    ("CONF-012", "broken::every_case_is_told_word_for_word_and_place_for_place"),
    ("CONF-013", "watch::a_file_that_is_empty_or_cannot_be_read_keeps_the_old_policies"),
    ("CONF-014", "watch::every_way_of_editing_a_file_is_noticed"),
    ("CONF-014", "watch::a_mounted_volume_that_swaps_its_link_is_taken_over_as_one"),
    ("CONF-014", "watch::a_file_that_is_still_being_written_is_left_alone"),
    ("CONF-015", "reload::a_cold_key_refuses_the_whole_reload_and_is_named"),
    ("CONF-016", "reload_load::ten_thousand_routes_are_taken_over_while_requests_go_on"),
    ("CONF-016", "reload_load::ten_thousand_routes_are_taken_over_within_a_second_and_hardly_felt"),
    ("CONF-017", "secrecy::no_secret_reaches_a_log_even_at_trace"),
    ("CONF-017", "secrecy::no_secret_reaches_a_log_when_store_and_upstream_fail"),
    ("CONF-017", "secrecy::printed_configuration_is_redacted"),
    ("CONF-018", "broken::every_case_is_told_word_for_word_and_place_for_place"),
    ("CONF-019", "startup::missing_secret_is_exit_65_and_names_the_variable_and_the_place"),
    ("CONF-020", "broken::byte_order_mark_windows_line_ends_and_tabs_are_read"),
    ("CONF-020", "broken::ten_mebibytes_are_read_or_refused_in_bounded_time"),
    ("CONF-021", "reload_live::an_open_connection_gets_the_new_rule_on_its_next_request"),
    ("CONF-022", "reload_live::an_answer_on_its_way_completes_after_its_route_is_gone"),
    ("LIFE-006", "reload_load::fifty_reloads_under_load_fail_nobody_and_mix_nothing"),
    ("LIFE-006", "reload_load::fifty_reloads_in_a_minute_leave_memory_and_files_as_they_were"),
    ("LIFE-012", "startup::port_in_use_is_one_clear_line_and_exit_1_at_once"),
    ("LIFE-012", "startup::second_gateway_on_the_same_port_ends_and_leaves_the_first_alone"),
    ("ERR-006", "observe::one_line_a_request_and_each_upstream_request_has_exactly_one_permitted_line"),
    ("ERR-007", "observe::two_thousand_random_requests_add_no_series"),
    ("ERR-008", "observe::one_line_a_request_and_each_upstream_request_has_exactly_one_permitted_line"),
    ("RATE-001", "quota::the_first_call_over_a_quota_is_429_and_reaches_no_upstream"),
    ("RATE-003", "quota_evasion::headers_that_a_client_makes_up_give_it_no_other_address"),
    ("RATE-006", "quota_evasion::an_ipv4_client_of_a_dual_stack_listener_is_the_same_client"),
    ("RATE-006", "quota_evasion::a_trusted_proxys_word_separates_clients_and_mapped_forms_are_one_address"),
    ("RATE-007", "quota_evasion::spellings_of_a_path_and_methods_share_the_routes_bucket_or_are_refused"),
    ("RATE-008", "quota_evasion::credentials_tokens_and_spellings_of_one_account_share_its_bucket"),
    ("RATE-009", "quota_evasion::spellings_of_a_path_and_methods_share_the_routes_bucket_or_are_refused"),
    ("RATE-010", "quota_evasion::wrong_keys_with_anothers_id_cost_the_sender_and_never_the_victim"),
    ("RATE-012", "quota_pace::no_window_long_span_passes_more_than_the_burst_and_one_window_of_the_rate"),
    ("RATE-015", "quota_outage::killed_store_leaves_each_gateway_its_share"),
    ("RATE-016", "quota_shared::two_gateways_with_one_quota_admit_it_once"),
    ("RATE-017", "quota_pace::a_429_costs_at_most_a_fifth_of_the_cpu_of_a_forwarded_call"),
];

/// How many cases are shown in each group that is shown whole.
const WHOLE: &[(&str, usize)] = &[("REDIS", 12), ("LOGIN", 4), ("JWT", 3), ("BASIC", 3), ("RATE", 11), ("CONF", 18)];

/// All tests below a folder, as `module::name`; a file that is named `mod.rs` is its folder's.
fn tests_in(folder: &Path, module: &str, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder of ours") {
        let path = entry.expect("its entry").path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned();
        let inside = if module.is_empty() { stem.clone() } else { format!("{module}::{stem}") };
        if path.is_dir() {
            tests_in(&path, &inside, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let inside = if stem == "mod" { module } else { &inside };
            let text = fs::read_to_string(&path).expect("a source");
            found.extend(tests_of(&text).map(|name| format!("{inside}::{name}")));
        }
    }
}

/// The functions of a file right below `#[test]` or `#[tokio::test]`, and whatever attributes stand between.
fn tests_of(text: &str) -> impl Iterator<Item = &str> {
    let mut is_test = false;
    text.lines().map(str::trim).filter_map(move |line| {
        if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            return None;
        }
        let is_test = std::mem::take(&mut is_test);
        let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?.split('(').next()?;
        is_test.then_some(name)
    })
}

#[test]
fn every_case_is_shown_by_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    for folder in ["tests/gateway", "src"] {
        let before = found.len();
        tests_in(&root.join(folder), "", &mut found);
        assert!(found.len() > before + 100, "{folder} was not read: {}", found.len() - before);
    }
    let broken = fs::read_to_string(root.join("tests/broken.rs")).expect("the corpus's tests");
    found.extend(tests_of(&broken).map(|name| format!("broken::{name}")));
    for (case, test) in SHOWN {
        assert!(found.contains(*test), "{case}: there is no test {test}");
    }
    let distinct: BTreeSet<_> = SHOWN.iter().collect();
    assert_eq!(distinct.len(), SHOWN.len(), "a line stands twice");
    for (group, count) in WHOLE {
        let cases: BTreeSet<_> = SHOWN.iter().map(|(case, _)| *case).filter(|case| case.starts_with(group)).collect();
        assert_eq!(cases.len(), *count, "{group}: {cases:?}");
    }
}
