//! What code in a sandbox may try, and which tests try it. The table is the whole list; the tests are beside it.

mod calls;
mod host;
mod network;
mod taken_over;
mod workspace;

/// One line of the list.
struct Attack {
    row: &'static str,
    what: &'static str,
    stopped_by: &'static str,
    /// `file::test`, of this folder, of the one above it, or of the whole suite.
    tried_by: &'static [&'static str],
}

const fn attack(
    row: &'static str,
    what: &'static str,
    stopped_by: &'static str,
    tried_by: &'static [&'static str],
) -> Attack {
    Attack { row, what, stopped_by, tried_by }
}

const CALLS: &str = "calls::the_kernels_dangerous_calls_are_refused";

/// NS: namespaces. SC: system call filter. LL: Landlock.
const ATTACKS: [Attack; 32] = [
    attack(
        "1",
        "fork bomb",
        "process limit of the user namespace, pids group",
        &[
            "limits::a_fork_bomb_stops_at_the_process_limit_and_can_be_killed",
            "limits::two_sandboxes_have_a_process_limit_each",
            "host::a_greedy_neighbour_changes_nothing",
        ],
    ),
    attack(
        "1b",
        "the same as root of the host",
        "another host user a sandbox, never root",
        &["calls::every_sandbox_is_another_user_of_the_host_and_never_root"],
    ),
    attack(
        "2",
        "memory hog",
        "memory group, or a data limit and a watcher",
        &[
            "limits::a_memory_hog_ends_with_its_reason_and_the_sandbox_lives_on",
            "limits::memory_that_belongs_to_no_process_counts",
            "host::a_greedy_neighbour_changes_nothing",
        ],
    ),
    attack(
        "3",
        "filling /tmp, /dev/shm and their inodes",
        "sizes of the mounts",
        &["limits::private_file_systems_are_bounded_too"],
    ),
    attack(
        "4",
        "filling the workspace's disk or inodes",
        "watcher, file size limit, free-space floor",
        &[
            "limits::a_disk_hog_is_killed_with_its_reason",
            "limits::too_many_files_are_stopped_with_their_reason",
            "limits::a_closed_folder_counts_like_any_other",
            "limits::the_hosts_free_space_is_kept_from_who_uses_it_up_and_the_others_are_told",
        ],
    ),
    attack("5", "CPU hog", "cpu group, or priority", &["limits::a_cpu_hog_gets_its_share_and_no_more"]),
    attack("6", "mounts, pivot_root, chroot", "no rights, SC, LL", &[CALLS]),
    attack("7", "nested user namespaces by unshare, clone, clone3, setns", "SC", &[CALLS]),
    attack("8", "32-bit calls, x32 numbers, calls newer than the filter", "SC", &[CALLS]),
    attack(
        "9",
        "leaked directory descriptor",
        "close-on-exec everywhere, LL",
        &["host::no_descriptor_leaks_into_a_command", "host::a_leaked_directory_descriptor_opens_nothing"],
    ),
    attack(
        "10",
        "init's program, memory, descriptors, environment",
        "init is not dumpable, its file is not mounted",
        &["host::inits_own_program_memory_and_descriptors_are_closed"],
    ),
    attack("11", "tracing init, or reading its memory", "init is not dumpable, SC", &[CALLS]),
    attack("12", "signals to the host's processes and to init", "NS", &["host::the_hosts_processes_are_out_of_reach"]),
    attack("13", "kernel keyrings", "SC", &[CALLS]),
    attack("14", "bpf, perf, io_uring, userfaultfd, modules, kexec, clocks, handles", "SC", &[CALLS]),
    attack("15", "raw, packet, vsock, crypto, XDP, bluetooth and netfilter sockets", "SC", &[CALLS]),
    attack("16", "typing into a terminal (TIOCSTI, TIOCLINUX)", "SC, own session", &[CALLS]),
    attack("17", "set-id files for other users of the host", "SC, nosuid", &[CALLS]),
    attack("18", "devices", "own /dev, SC, nodev", &[CALLS, "host::nothing_of_the_host_but_its_tools_is_there"]),
    attack("19", "the host's files, /sys, /proc/sys", "NS", &["host::nothing_of_the_host_but_its_tools_is_there"]),
    attack("20", "the server's environment", "init starts with none", &["host::the_servers_environment_is_not_seen"]),
    attack(
        "21",
        "the host's loopback, addresses, metadata, networks, abstract sockets",
        "NS, egress policy",
        &[
            "network::the_hosts_services_and_networks_are_out_of_reach",
            "network::a_socket_of_the_host_without_a_file_is_not_found",
            "egress::the_host_its_networks_and_rebinding_names_are_out_of_reach",
        ],
    ),
    attack(
        "22",
        "daemons that outlive their sandbox",
        "NS, end of the control socket",
        &[
            "life::the_workspace_outlives_the_sandbox_and_everything_else_does_not",
            "life::nothing_runs_on_after_the_server_was_killed",
            "host::killing_everything_ends_only_the_sandboxs_own",
        ],
    ),
    attack(
        "23",
        "links, `..`, FIFOs through the file interface",
        "paths resolved beneath the workspace",
        &["files::no_path_leads_out_of_the_workspace"],
    ),
    attack(
        "24",
        "names with line feeds, invalid UTF-8, great depth",
        "bytes inside, walks by descriptor",
        &["files::odd_names_are_listed_and_removed_without_harm"],
    ),
    attack(
        "25",
        "flood of output",
        "bounded queue and log",
        &[
            "basics::a_flood_of_output_waits_for_its_reader_and_arrives_whole",
            "basics::an_unread_flood_does_not_hold_up_others_or_the_shutdown",
            "service::a_flood_ends_and_leaves_a_bounded_log",
        ],
    ),
    attack(
        "26",
        "a daemon that holds the output open",
        "the end comes with the exit",
        &["basics::a_daemon_that_holds_the_output_does_not_hold_the_end_and_outlives_it"],
    ),
    attack(
        "27",
        "hooks and settings for tools of the host",
        "no tool of the host runs in a workspace",
        &[
            "workspace::nothing_of_a_workspace_is_run_on_the_host",
            "workspace::the_server_starts_programs_of_the_host_in_two_places_only",
        ],
    ),
    attack(
        "28",
        "zip bombs and links on download and upload",
        "bounds; links are stored, never followed",
        &[
            "workspace::a_downloaded_archive_holds_nothing_of_the_host_and_is_bounded",
            "workspace::an_uploaded_file_does_not_follow_links",
        ],
    ),
    attack(
        "29",
        "messages of a taken-over init",
        "checked lengths, bounded waits, descriptors looked at",
        &[
            "taken_over::a_greeting_that_breaks_the_protocol_makes_no_sandbox",
            "taken_over::what_is_no_message_ends_the_sandbox",
            "taken_over::descriptors_that_are_no_sockets_are_not_connected",
            "taken_over::a_flood_of_made_up_events_ends_with_its_sender_and_leaves_nothing",
            "taken_over::an_init_that_never_answers_is_given_up",
        ],
    ),
    attack(
        "30",
        "a preview that attacks the platform",
        "another origin, no cookies, no routes",
        &[
            "security::a_preview_host_reaches_no_route_of_the_platform",
            "security::a_page_of_another_site_changes_nothing",
            "preview::the_app_sees_localhost_and_nothing_of_the_platform",
        ],
    ),
    attack("31", "an unknown hole in an allowed system call", "nothing here: use a virtual machine", &[]),
];

const SOURCES: [(&str, &str); 13] = [
    ("calls", include_str!("calls.rs")),
    ("host", include_str!("host.rs")),
    ("network", include_str!("network.rs")),
    ("taken_over", include_str!("taken_over.rs")),
    ("workspace", include_str!("workspace.rs")),
    ("basics", include_str!("../basics.rs")),
    ("files", include_str!("../files.rs")),
    ("life", include_str!("../life.rs")),
    ("limits", include_str!("../limits.rs")),
    ("egress", include_str!("../../egress.rs")),
    ("preview", include_str!("../../preview.rs")),
    ("security", include_str!("../../security.rs")),
    ("service", include_str!("../../service.rs")),
];

#[test]
fn every_attack_is_tried() {
    for Attack { row, what, stopped_by, tried_by } in &ATTACKS {
        assert!(!what.is_empty() && !stopped_by.is_empty());
        // What nothing stops, nothing tests; the list says so.
        assert_eq!(tried_by.is_empty(), *row == "31", "row {row}, {what}, is not tried");
        for test in *tried_by {
            let (file, name) = test.split_once("::").unwrap();
            let (_, source) = SOURCES.iter().find(|(known, _)| *known == file).unwrap();
            assert!(source.contains(&format!("fn {name}()")), "row {row}: there is no test {test}");
        }
    }
    let rows: Vec<&str> = ATTACKS.iter().map(|attack| attack.row).filter(|row| *row != "1b").collect();
    assert_eq!(rows, (1..=31).map(|row| row.to_string()).collect::<Vec<_>>());
    // Each row that the probe is named for has probes in its own table.
    let by_probe = ATTACKS.iter().filter(|attack| attack.tried_by.contains(&CALLS));
    for Attack { row, .. } in by_probe {
        assert!(include_str!("calls.rs").contains(&format!("(\"{row}\", \"")), "row {row} has no probe");
    }
}
