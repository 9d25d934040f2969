//! Every row of the matrix of faults, its tests, and what of it is open. Its tests carry the number of a row wherever they stand (`f_10_…`), and `make
//! faults` runs all of them.

use std::{collections::BTreeSet, process::Command};

/// A fault.
#[derive(Debug)]
pub(super) struct Row {
    /// Its number.
    pub(super) number: &'static str,
    /// What is done.
    pub(super) fault: &'static str,
    /// The tests that show what holds all the same. None: it cannot be played here.
    pub(super) tests: &'static [&'static str],
    /// What no test shows, and why not. Empty where nothing is open.
    pub(super) open: &'static str,
}

const fn row(number: &'static str, fault: &'static str, tests: &'static [&'static str], open: &'static str) -> Row {
    Row { number, fault, tests, open }
}

/// All rows. F08 and F09 do not exist.
pub(super) const ROWS: &[Row] = &[
    row(
        "F01",
        "Postgres is down for a minute",
        &[
            "record::postgres_away::f_01_calls_go_on_without_postgres_and_none_is_lost_or_doubled",
            "record::postgres_away::f_01_l_03_calls_go_on_through_an_outage_and_memory_stays_flat",
        ],
        "",
    ),
    row(
        "F02",
        "Postgres is slow by 200 ms an exchange",
        &["faults::postgres::f_02_postgres_that_is_slow_slows_pages_and_no_call"],
        "pages make some twelve exchanges one after the other, so that 200 ms more for each are two and a half seconds, not two",
    ),
    row(
        "F03",
        "Postgres hangs (SIGSTOP of all its processes)",
        &["faults::postgres::f_03_postgres_that_hangs_is_given_up_in_time_and_comes_back"],
        "a statement that is under way when it hangs waits until it goes on: its own timeout is the server's",
    ),
    row(
        "F04",
        "the primary is killed, its standby takes over",
        &["faults::failover::f_04_a_standby_takes_over_and_nothing_acknowledged_is_lost"],
        "",
    ),
    row(
        "F05",
        "no connection to Postgres is free, or none is given",
        &["faults::postgres::f_05_without_a_free_connection_pages_say_so_soon_and_calls_go_on"],
        "",
    ),
    row(
        "F06",
        "Redis is down, hangs, is slow, was flushed, fails over, or is without memory",
        &[
            "limits::redis_away::f_06_redis_that_dies_degrades_reading_refuses_the_rest_and_heals_when_it_is_started_again",
            "limits::redis_away::f_06_redis_that_hangs_degrades_reading_refuses_the_rest_and_heals",
            "limits::faults::f_06_q_10_redis_that_hangs_costs_no_time_and_hardly_any_calls",
            "limits::faults::f_06_q_13_redis_that_is_slow_is_not_waited_for",
            "limits::day::f_06_q_11_a_flush_forgets_no_day",
            "limits::cluster::f_06_q_12_a_master_that_is_killed_under_load_is_survived",
            "limits::cluster::f_06_q_12_a_master_that_hangs_under_load_is_survived",
            "faults::redis::f_06_f_07_redis_without_memory_or_as_a_replica_gives_nobody_more_and_heals",
        ],
        "",
    ),
    row(
        "F07",
        "Redis answers something else: wrong types, lost scripts, LOADING, MOVED, READONLY, nonsense",
        &[
            "limits::faults::f_07_keys_of_another_type_and_lost_scripts_let_nobody_through",
            "limits::cluster::f_07_a_slot_moves_to_another_master_under_load_and_back",
            "faults::redis::f_06_f_07_redis_without_memory_or_as_a_replica_gives_nobody_more_and_heals",
            "faults::redis::f_07_whatever_redis_answers_nobody_gets_more_than_their_share",
        ],
        "",
    ),
    row(
        "F10",
        "an upstream accepts and never answers",
        &["upstream::f_10_f_11_an_upstream_that_hangs_is_given_up_at_the_tools_deadline"],
        "",
    ),
    row(
        "F11",
        "an upstream answers byte by byte",
        &["upstream::f_10_f_11_an_upstream_that_hangs_is_given_up_at_the_tools_deadline"],
        "",
    ),
    row("F12", "an upstream's answer does not end", &["faults::answers::f_12_an_answer_without_end_is_cut_and_not_kept"], ""),
    row(
        "F13",
        "an upstream's answer grows when it is unpacked",
        &["faults::answers::f_13_what_grows_when_it_is_unpacked_is_cut"],
        "there is no bound on the ratio: 4 MiB unpacked are the bound, whatever they were packed",
    ),
    row(
        "F14",
        "an upstream answers with garbage, half of something, another type, or a head without end",
        &[
            "upstream::f_14_each_way_to_fail_has_its_class_and_nothing_of_upstream_leaks",
            "upstream::answers::f_14_an_answer_that_is_not_text_comes_as_what_it_is",
            "faults::answers::f_14_f_17_heads_without_end_and_bodies_that_are_torn_are_failures",
            "faults::answers::f_14_who_says_without_end_that_the_answer_comes_is_not_heard_out",
        ],
        "",
    ),
    row("F15", "an upstream leads elsewhere", &["upstream::f_15_a_redirect_is_not_followed"], ""),
    row(
        "F16",
        "an upstream cannot prove who it is",
        &["faults::tls::f_16_an_upstream_that_cannot_prove_who_it_is_hears_no_secret"],
        "",
    ),
    row(
        "F17",
        "an upstream resets, closes early, or promises more than it sends",
        &[
            "upstream::f_14_each_way_to_fail_has_its_class_and_nothing_of_upstream_leaks",
            "faults::answers::f_14_f_17_heads_without_end_and_bodies_that_are_torn_are_failures",
        ],
        "",
    ),
    row(
        "F18",
        "an upstream is overloaded",
        &[
            "limits::breaker::f_18_an_upstream_that_fails_is_left_alone_by_all_agents_and_tried_by_one",
            "limits::resilience::f_18_only_what_does_no_harm_is_tried_again",
            "limits::resilience::f_18_a_cap_and_a_deadline_hold_for_all_tools_of_an_upstream_on_all_replicas",
            "limits::resilience::f_18_a_breaker_that_is_switched_off_never_opens",
            "limits::resilience::f_18_an_mcp_server_is_tried_again_for_what_only_reads_or_says_that_it_may_be",
        ],
        "",
    ),
    row(
        "F19",
        "an MCP server answers others' requests, twice, or without end",
        &[
            "mcp::upstreams::f_19_an_answer_to_another_request_or_a_broken_one_is_a_failed_call_and_nothing_more",
            "mcp::upstreams::f_19_a_stream_of_an_upstream_that_never_ends_is_ended_with_the_tool_s_time",
            "bridge::faults::f_19_answers_that_break_the_protocol_are_refused",
        ],
        "",
    ),
    row(
        "F20",
        "a client does not read its stream",
        &[
            "streams::unread::f_20_a_session_s_reader_that_does_not_read_is_dropped_and_its_call_goes_on",
            "streams::unread::f_20_a_stateless_reader_that_does_not_read_has_its_call_cancelled",
        ],
        "",
    ),
    row(
        "F21",
        "a client closes or resets at any moment",
        &[
            "streams::leaving::f_21_t_15_leaving_cancels_a_stateless_call_within_a_second_and_hangs_up_on_its_upstream",
            "db::cancel::f_21_a_thousand_connections_reset_at_random_moments_leave_nothing_open",
        ],
        "",
    ),
    row(
        "F22",
        "clients send as slowly as they may",
        &["faults::slow_clients::f_22_clients_that_send_slowly_are_let_go_and_delay_nobody"],
        "",
    ),
    row(
        "F23",
        "10,000 connections say nothing",
        &["faults::many::f_23_connections_that_say_nothing_cost_little_and_delay_nobody"],
        "beyond the most connections of a replica (25,000 a worker), which more descriptors than here would take",
    ),
    row("F24", "10,000 event streams", &["faults::many::f_24_streams_cost_little_and_end_when_their_replica_is_told_to"], ""),
    row(
        "F25",
        "messages that are broken, deep, or at the edge of numbers and texts",
        &[
            "mcp::bodies::f_25_t_05_a_body_that_is_not_json_is_a_parse_error",
            "mcp::bodies::f_25_t_05_depth_is_bounded_and_the_connection_stays_usable",
            "mcp::bodies::f_25_numbers_and_texts_at_their_edges_are_read_or_refused_but_never_break_anything",
        ],
        "",
    ),
    row("F26", "a batch of thousands", &["sessions::requests::f_26_t_06_batches_are_of_the_oldest_revision_and_bounded"], ""),
    row(
        "F27",
        "requests that two servers read in two ways",
        &[
            "faults::requests::f_27_what_could_be_read_in_two_ways_is_refused_with_its_connection",
            "mcp::headers::f_27_t_01_a_foreign_host_is_refused_before_the_bearer_is_looked_at",
        ],
        "",
    ),
    row("F28", "HTTP/2 is abused", &["faults::requests::f_28_nobody_speaks_another_version_of_the_protocol"], ""),
    row("F29", "heads that are huge, long, or no text", &["faults::requests::f_29_heads_that_nobody_needs_are_refused"], ""),
    row("F30", "SIGTERM under load", &["record::rolling::f_30_a_rolling_restart_of_three_replicas_fails_and_loses_no_call"], ""),
    row(
        "F31",
        "kill -9 under load",
        &[
            "record::killed::f_31_l_01_l_02_what_was_answered_or_begun_outlives_kill_9",
            "money::killed::f_31_l_02_the_counter_is_the_sum_of_the_record_after_kill_9",
        ],
        "",
    ),
    row(
        "F32",
        "a second signal while it stops",
        &["faults::process::f_32_a_second_signal_ends_it_at_once_and_the_spool_is_whole"],
        "",
    ),
    row(
        "F33",
        "clocks step",
        &[
            "limits::day::f_33_q_06_clocks_that_step_neither_give_calls_nor_lock_for_long",
            "telemetry::trouble::f_33_a_clock_that_is_off_is_told",
        ],
        "",
    ),
    row(
        "F34",
        "signing keys change under load",
        &["oauth::load::f_34_o_60_signing_keys_change_under_load_without_a_refusal"],
        "",
    ),
    row(
        "F35",
        "a disk is full",
        &["record::disk_full::f_35_l_04_a_full_disk_refuses_calls_and_heals_by_itself"],
        "the disk of the spool; one of Postgres is F01 to those who write there",
    ),
    row("F36", "no descriptors are left", &["faults::many::f_36_without_descriptors_it_waits_without_spinning_and_recovers"], ""),
    row(
        "F37",
        "hundreds of bodies of a mebibyte at once, and one of a gibibyte",
        &[
            "faults::many::f_37_bodies_have_so_much_memory_together_and_not_more",
            "cli::memory::f_37_a_gibibyte_in_chunks_is_refused_and_not_kept",
        ],
        "",
    ),
    row("F38", "a flood of passwords", &["faults::process::f_38_a_flood_of_passwords_is_refused_and_calls_go_on"], ""),
    row(
        "F39",
        "names hang, flap, turn, or lead to themselves",
        &["faults::names::f_39_names_that_hang_flap_or_turn_cost_their_call_only"],
        "",
    ),
    row("F40", "bombs in functions", &["functions::limits::f_40_x_01_x_02_attacks_end_at_their_limits"], ""),
    row(
        "F41",
        "the collector of traces hangs or is gone",
        &["record::traces::f_41_a_collector_that_misbehaves_costs_calls_nothing"],
        "",
    ),
    row(
        "F42",
        "replicas of two releases at once",
        &[],
        "there is no release before this one; migrations only add, and links of the record carry the form they were hashed in",
    ),
    row(
        "F43",
        "the database is put back to an earlier moment",
        &["record::chain::f_43_l_11_a_deleted_row_is_found_in_the_middle_and_at_the_end"],
        "what was revoked after that moment has to be revoked again",
    ),
    row(
        "F44",
        "a commit is done and its answer is lost",
        &["faults::postgres::f_44_a_commit_whose_answer_is_lost_is_neither_lost_nor_made_twice"],
        "",
    ),
];

/// The tests of this program.
fn tests() -> BTreeSet<String> {
    let program = std::env::current_exe().expect("this program");
    let listed = Command::new(program).args(["--list", "--format=terse"]).output().expect("it lists its tests");
    let listed = String::from_utf8(listed.stdout).expect("text");
    listed.lines().filter_map(|line| line.strip_suffix(": test").map(str::to_owned)).collect()
}

/// The rows that a test says it belongs to: `f_10_f_11_…`.
fn rows_of(test: &str) -> Vec<String> {
    let mut words = test.rsplit("::").next().unwrap_or_default().split('_');
    let mut rows = Vec::new();
    while let (Some("f"), Some(number)) = (words.next(), words.next()) {
        if number.len() == 2 && number.bytes().all(|byte| byte.is_ascii_digit()) {
            rows.push(format!("F{number}"));
        }
    }
    rows
}

/// What is wrong with the table, held against the tests that there are.
fn complaints(rows: &[Row], tests: &BTreeSet<String>) -> Vec<String> {
    let mut complaints = Vec::new();
    for row in rows {
        if row.tests.is_empty() && row.open.is_empty() {
            complaints.push(format!("{}: neither tests nor a reason", row.number));
        }
        for test in row.tests {
            if !tests.contains(*test) {
                complaints.push(format!("{}: no test {test}", row.number));
            }
            if rows_of(test).is_empty() {
                complaints
                    .push(format!("{}: {test} does not carry the number of a row, so `make faults` does not run it", row.number));
            }
        }
    }
    for test in tests {
        for number in rows_of(test) {
            if !rows.iter().any(|row| row.number == number && row.tests.contains(&test.as_str())) {
                complaints.push(format!("{test} is not in row {number}"));
            }
        }
    }
    complaints
}

#[test]
fn every_row_stands_here_with_tests_that_there_are() {
    let numbers: Vec<String> = (1..=7).chain(10..=44).map(|number| format!("F{number:02}")).collect();
    assert_eq!(ROWS.iter().map(|row| row.number).collect::<Vec<_>>(), numbers);
    assert_eq!(complaints(ROWS, &tests()), [""; 0]);
}

#[test]
fn what_does_not_fit_is_named() {
    assert_eq!(rows_of("faults::redis::f_06_f_07_redis_without_memory"), ["F06", "F07"]);
    assert_eq!(rows_of("functions::fetch_reaches"), [""; 0]);
    let tests = BTreeSet::from(["a::f_10_b".to_owned(), "a::other".to_owned()]);
    let rows = [row("F10", "", &["a::other", "a::gone"], ""), row("F11", "", &[], "")];
    assert_eq!(
        complaints(&rows, &tests),
        [
            "F10: a::other does not carry the number of a row, so `make faults` does not run it",
            "F10: no test a::gone",
            "F10: a::gone does not carry the number of a row, so `make faults` does not run it",
            "F11: neither tests nor a reason",
            "a::f_10_b is not in row F10",
        ]
    );
}
