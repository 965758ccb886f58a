"""The faults that tests of other folders inject: entered into the matrix, not repeated."""

from tests.faults.matrix import Fault

ELSEWHERE = {
    # Replicas.
    "tests/end_to_end/test_misbehaving_models.py::test_what_fails": Fault(
        "a model raises, exits, crashes, hangs, freezes, babbles on the wire",
        "nine deeds of a model in the midst of a request, one of them in C with the interpreter's "
        "lock held",
        "its caller gets the documented error, the next request is served, others never notice",
    ),
    "tests/workers/replica/test_replica.py::test_an_answer_to_something_else_is_delivered_to_nobody": Fault(
        "a wrong id", "a replica answers another request's id", "nobody gets it; it is killed"
    ),
    "tests/workers/replica/test_replica.py::test_a_second_answer_is_delivered_to_nobody": Fault(
        "two answers", "a replica answers one request twice", "the second one kills it"
    ),
    "tests/workers/replica/test_wire.py::test_a_length_past_the_limit_is_refused_at_the_header": Fault(
        "a frame of 4 GiB", "any length past the limit", "refused before memory is taken"
    ),
    "tests/workers/replica/test_wire.py::test_junk_is_a_message_or_a_wire_error": Fault(
        "junk on the wire", "any bytes (hypothesis)", "a message, or the end of that replica"
    ),
    "tests/workers/test_engine.py::test_a_slow_start_is_cut_off": Fault(
        "an endless import (engine)", "a model file that sleeps", "cut off with its reason in time"
    ),
    "tests/workers/test_shortages.py::test_every_call_of_a_start_fails_in_turn": Fault(
        "no descriptors, threads, processes or memory at any moment of a replica's life",
        "each call of ours that takes one fails three times, place by place",
        "the pool says why, tries again and serves; others go on; nothing is left",
    ),
    "tests/workers/test_shortages.py::test_every_call_of_a_script_fails_in_turn": Fault(
        "the same while a script is run",
        "each call fails, place by place",
        "an error that says so, or a script that ran; nothing is left",
    ),
    "tests/end_to_end/test_machine_limits.py::test_system_calls_of_a_start_fail": Fault(
        "system calls fail under a gateway",
        "each call of a start (open, pipe, fork, exec, mmap, ...) fails in all of it, in turn",
        "another model answers; the model that could not start comes back",
    ),
    "tests/end_to_end/test_machine_limits.py::test_few_descriptors": Fault(
        "few descriptors",
        "`ulimit -n 256`, 300 clients, ten replicas",
        "refused with the limit; administrators and other callers go on; given back",
    ),
    "tests/end_to_end/test_machine_limits.py::test_few_processes": Fault(
        "few processes",
        "300 tasks in the gateway's cgroup, two models that fork without end",
        "starts are refused with the limit; the gateway and other models go on",
    ),
    "tests/end_to_end/test_machine_limits.py::test_few_processes_of_a_user": Fault(
        "few processes of a user",
        "RLIMIT_NPROC of 300 as an ordinary user, two models that fork without end",
        "the gateway and other models go on",
    ),
    "tests/end_to_end/test_machine_limits.py::test_little_memory": Fault(
        "little memory",
        "400 MiB in the gateway's cgroup, a model that takes 500",
        "its replica is killed and replaced; the gateway and other models go on",
    ),
    "tests/end_to_end/test_signals.py::test_signals_that_end_it": Fault(
        "signals that end the gateway",
        "each of them, one by one, while a request runs and a client connects",
        "the request is answered, the client refused, status 0",
    ),
    "tests/end_to_end/test_signals.py::test_signals_without_a_meaning": Fault(
        "signals without a meaning",
        "SIGUSR1, SIGALRM, ... and those of real time, one by one",
        "logged; all goes on",
    ),
    "tests/end_to_end/test_signals.py::test_process_1": Fault(
        "the gateway is process 1 of a container",
        "models and others leave processes; SIGTERM",
        "no zombies; it ends",
    ),
    "tests/end_to_end/test_two_doors.py::test_bodies_of_strangers": Fault(
        "bodies that never end",
        "forty of 5 MB, at the first and at the second door",
        "refused beyond their share; given back when their clients are gone",
    ),
    "tests/end_to_end/test_two_doors.py::test_answers_that_nobody_takes": Fault(
        "answers that are not taken",
        "thirty of 8 MB, at the first and at the second door",
        "who holds most loses connections; memory stays within the bound",
    ),
    "tests/workers/pool/test_slots.py::test_failed_starts_back_off": Fault(
        "a crash loop at import (pace)", "every start fails", "the pauses double up to 30 s"
    ),
    "tests/workers/pool/test_slots.py::test_a_pool_gives_up_with_the_reason": Fault(
        "a crash loop at import (end)", "no start ever succeeds", "the pool gives up, saying why"
    ),
    "tests/workers/process/test_process.py::test_who_forks_faster_is_killed_as_well": Fault(
        "a tree that forks while it is killed", "forks without end", "none is left"
    ),
    "tests/workers/process/test_process.py::test_a_busy_process_dies_with_its_parent": Fault(
        "the gateway dies while a replica computes", "SIGKILL to the parent", "it is gone in 1 s"
    ),
    "tests/workers/process/test_script.py::test_what_a_script_leaves_running_is_killed": Fault(
        "a script that leaves processes", "children in sessions of their own", "none is left"
    ),
    "tests/gateway/control/logs/test_following.py::test_a_silent_log_costs_nothing": Fault(
        "followers of a silent log", "hundreds follow, nothing is written", "no task runs for them"
    ),
    "tests/gateway/control/logs/test_following.py::test_turns_come_one_at_a_time": Fault(
        "followers of a log that grows", "many wait for one line", "one runs in a step of the loop"
    ),
    "tests/gateway/control/logs/test_following.py::test_a_follower_that_does_not_read": Fault(
        "a follower that does not read",
        "a log outgrows its files meanwhile",
        "nothing is kept for it; it is told how much was left out",
    ),
    "tests/workers/reactor/test_reactor.py::test_many_ready_tasks_do_not_keep_what_is_ready_waiting": Fault(
        "a thousand tasks at once",
        "hundreds of tasks become ready in one step, as when clients hang up",
        "predictions are served between them, each millisecond",
    ),
    "tests/workers/test_log.py::test_a_rotation_between_look_and_read_loses_no_line": Fault(
        "a rotation while a log is read", "files are renamed between look and read", "no line lost"
    ),
    "tests/workers/test_log.py::test_a_disk_that_refuses_costs_lines_and_nothing_else": Fault(
        "the disk of a log is full", "writes fail with ENOSPC", "lines are lost, nothing else"
    ),
    "tests/workers/process/test_output.py::test_a_megabyte_without_a_line_end_comes_in_pieces": Fault(
        "output without a line's end", "1 MB of it", "it comes in pieces, in bounded memory"
    ),
    # Callers.
    "tests/gateway/http/test_hypercorn_server.py::test_hostile_bytes_cost_their_connection_only": Fault(
        "bytes that ended the server under it",
        "h2c upgrades, cleartext h2, odd WebSocket headers, resets",
        "they cost their own connection",
    ),
    "tests/gateway/http/test_hypercorn_server.py::test_bad_requests_are_refused": Fault(
        "malformed and smuggled requests",
        "a corpus of them",
        "the status in its name, then the end",
    ),
    "tests/gateway/http/test_fuzz.py::test_any_bytes_in_any_pieces": Fault(
        "any bytes in any pieces", "hypothesis", "an end in bounded time; the cuts do not matter"
    ),
    "tests/gateway/http/test_fuzz.py::test_nothing_grows": Fault(
        "the corpus again and again", "whole and cut off", "descriptors and tasks stay as they were"
    ),
    "tests/gateway/http/test_request_filter.py::test_a_head_has_its_time_in_all": Fault(
        "slow headers (admin API)", "a head that drips", "408 in its time"
    ),
    "tests/gateway/http/test_model_connection.py::test_a_head_has_ten_seconds_in_all": Fault(
        "slow headers (models)", "a head that drips", "408 after 10 s"
    ),
    "tests/gateway/http/test_model_connection.py::test_a_body_has_thirty_seconds_in_all": Fault(
        "slow body", "a body that drips", "408 after 30 s"
    ),
    "tests/gateway/http/test_listener.py::test_who_reads_nothing_stalls_nobody": Fault(
        "slow read", "a client that never reads its answers", "others are answered as before"
    ),
    "tests/gateway/http/test_hypercorn_server.py::test_a_client_that_never_reads_is_let_go": Fault(
        "a client that never reads (admin API)", "its buffers stay full", "it is let go in time"
    ),
    "tests/gateway/http/test_listener.py::test_one_too_many_is_told_so": Fault(
        "more connections than allowed", "one too many", "503, and those there stay"
    ),
    "tests/gateway/http/test_listener.py::test_without_descriptors_the_door_rests": Fault(
        "no descriptors (the door)", "accept fails with EMFILE", "it rests and accepts again"
    ),
    "tests/gateway/http/test_model_connection.py::test_bodies_beyond_the_budget_are_refused": Fault(
        "bodies without a key", "more bytes at once than the budget", "503; memory stays bounded"
    ),
    "tests/gateway/http/test_model_connection.py::test_a_body_that_is_announced_too_large": Fault(
        "oversize: Content-Length and Expect", "a body beyond the limit", "413 before it is read"
    ),
    "tests/gateway/http/test_model_connection.py::test_a_body_that_grows_too_large_in_chunks": Fault(
        "oversize: chunked", "chunks beyond the limit", "413 when the limit is passed"
    ),
    "tests/end_to_end/test_bad_input.py::test_a_model_call": Fault(
        "JSON bombs and what is no JSON",
        "depth 100,000, 6 MB, not UTF-8, empty",
        "400, 401 or 413 with the reason; the model serves on",
    ),
    "tests/gateway/predictions/test_call.py::test_what_is_no_envelope_is_refused_saying_why": Fault(
        "odd envelopes", "what is JSON and no request", "400 with the reason"
    ),
    "tests/gateway/http/test_overload.py::test_a_full_queue": Fault(
        "a full queue", "more requests than places", "429 at once, with Retry-After"
    ),
    "tests/gateway/http/test_overload.py::test_who_went_away_waits_no_longer": Fault(
        "a waiting client goes", "it closes its connection", "its request leaves the queue"
    ),
    "tests/gateway/http/test_overload.py::test_nothing_is_sent_twice": Fault(
        "a replica dies with a request", "os._exit at a hundred of them", "none runs twice"
    ),
    "tests/gateway/test_app.py::test_every_admin_route_wants_the_key": Fault(
        "the admin API without a key", "every route", "401, but for what is marked public"
    ),
    # Durability.
    "tests/end_to_end/test_killed.py::test_kill_at_random_instants": Fault(
        "kill -9 of the gateway",
        "at random instants of a busy life, against an outside ledger",
        "all that was acknowledged is there and serves; no half build, no process",
    ),
    "tests/end_to_end/test_killed.py::test_kill_at_many_instants": Fault(
        "kill -9 of the gateway, eighty times", "as above, with four seeds", "as above"
    ),
    "tests/end_to_end/test_killed.py::test_no_orphan_survives_the_next_start": Fault(
        "kill -9, with a double-forked grandchild", "in a session of its own", "gone at next start"
    ),
    "tests/end_to_end/test_killed.py::test_a_build_that_was_being_made": Fault(
        "kill -9 during a build", "while its script runs", "the build failed; the next succeeds"
    ),
    "tests/store/test_killed.py::test_no_acknowledged_write_is_lost": Fault(
        "kill -9 of a writer", "in the midst of commits", "no acknowledged row is lost"
    ),
    "tests/store/test_migrate.py::test_a_newer_schema_is_refused": Fault(
        "a schema newer than the code", "a database of a later version", "refused, untouched"
    ),
    "tests/store/test_migrate.py::test_a_migration_is_whole_or_absent": Fault(
        "a migration that fails", "at its last statement", "no trace of its first"
    ),
    "tests/gateway/test_damage.py::test_a_file_of_each_kind": Fault(
        "every kind of file of a data folder is damaged",
        "empty, cut, garbage, a folder, a pipe, links, a failing device, immutable",
        "the gateway starts and others' models answer; each is named, and nothing is deleted",
    ),
    "tests/gateway/test_damage.py::test_the_folders_of_the_site": Fault(
        "something else in the place of each folder",
        "a file, a pipe, links",
        "it is moved to `set-aside`, and the gateway starts",
    ),
    "tests/builder/test_snapshot.py::test_git_dies_in_the_midst_of_a_blob": Fault(
        "git dies while it reads a snapshot",
        "SIGKILL in the midst of a file",
        "a failed snapshot that names the object; no file lacks its end",
    ),
    "tests/builder/test_build_store.py::test_a_damaged_seal": Fault(
        "a damaged seal",
        "torn, empty, garbage, large, deep, a folder, a pipe, a link, a device",
        "the build is not served and not removed",
    ),
    "tests/builder/test_build.py::test_cancellation": Fault(
        "a build is cancelled", "in each of its steps", "neither folder nor process is left"
    ),
    "tests/gateway/test_data_folder_check.py::test_data_without_a_database": Fault(
        "the database is missing or empty",
        "each kind of data in the folder, without its database",
        "the start is refused with what to do, and nothing is changed",
    ),
    "tests/gateway/control/backup/test_restore_folder.py::test_killed_at_each_step": Fault(
        "a restore that is killed",
        "ended without any clean-up before each of its changes of the disk in turn",
        "a start takes all of it or is refused; the restore can be repeated",
    ),
    "tests/end_to_end/test_power_loss.py::test_nothing_of_a_first_start_is_at_risk": Fault(
        "the power goes during a first start",
        "its system calls replayed on a disk that keeps only what was synced",
        "bytes and names of both keys are kept before anything else is made",
    ),
    "tests/end_to_end/test_power_loss.py::test_a_restored_database_speaks_for_all": Fault(
        "the power goes during a restore",
        "its system calls replayed on a disk that keeps only what was synced",
        "where the database has its name, everything is kept",
    ),
    "tests/store/test_start_room.py::test_a_disk_of_small_blocks": Fault(
        "a full disk whose blocks are smaller than pages",
        "ext4 with blocks of 1 KiB fills up while the database is open",
        "reads go on; no SIGBUS",
    ),
    "tests/store/test_generation.py::test_an_older_copy_is_refused": Fault(
        "an older copy of the database",
        "a copy from before a later start, from before later changes, of an older schema, or of "
        "another folder",
        "the start is refused with what to do; the copy is not changed by a byte",
    ),
    "tests/gateway/control/storage/test_orphans.py::test_what_is_not_known": Fault(
        "data without rows",
        "something in each folder, with an id that the database does not know",
        "sources and snapshots stay, all else can be found in the trash for a week",
    ),
    "tests/gateway/control/storage/test_orphans.py::test_what_was_deleted": Fault(
        "killed in the midst of a deletion",
        "the rows are gone, all files are there",
        "the next start removes the files, and nothing else",
    ),
    "tests/gateway/test_data_folder_check.py::test_a_key_that_is_gone": Fault(
        "a lost key",
        "`secret.key` or `admin.key` missing, empty or garbage beside a database",
        "the start is refused with what to do; no other key takes its place",
    ),
    # The house.
    "tests/end_to_end/test_bad_input.py::test_a_port_in_use": Fault(
        "the port is in use", "another listens there", "refused by name, without a traceback"
    ),
    "tests/end_to_end/test_bad_input.py::test_a_second_gateway_on_one_data_folder": Fault(
        "two gateways on one folder",
        "a second serve",
        "refused with the owner's pid, who serves on",
    ),
    "tests/end_to_end/test_bad_input.py::test_a_data_folder_on_a_read_only_file_system": Fault(
        "a read-only file system", "mounted so before the start", "refused by name"
    ),
    "tests/end_to_end/test_edge_cases.py::test_an_interpreter_that_vanishes": Fault(
        "the links of a build to its interpreter", "removed", "made again; what runs goes on"
    ),
    "tests/gateway/control/test_interpreter_gone.py::test_while_it_serves": Fault(
        "an interpreter that was removed",
        "a real one, while its model serves, then its replicas killed",
        "the build is made again with another of its version",
    ),
    "tests/gateway/control/test_interpreter_gone.py::test_without_another_of_its_version": Fault(
        "an interpreter that was removed, the only one of its version",
        "while no gateway ran",
        "the deployment has failed and says what to install",
    ),
    "tests/builder/test_build.py::test_interpreter_that_is_gone": Fault(
        "an interpreter that does not run", "asked for in a build", "named, with what to do"
    ),
    "tests/end_to_end/test_edge_cases.py::test_deletions_side_by_side": Fault(
        "deletions side by side", "during deployments and builds", "one wins; nothing is left"
    ),
    "tests/end_to_end/test_edge_cases.py::test_deploying_and_stopping_in_a_storm": Fault(
        "deploying and stopping in a storm", "four people at once", "the last wish serves"
    ),
    "tests/end_to_end/test_shutdown.py::test_sigterm_ends_whatever_clients_do": Fault(
        "SIGTERM with everything stuck",
        "an idle client, half a request, a client that never reads, models that hang, a build",
        "the end in grace + 3 s, no process left",
    ),
    "tests/builder/test_snapshot.py::test_hostile_git_folder": Fault(
        "a hostile .git in a project", "hooks, filters, fsmonitor", "none of it runs"
    ),
    # The disk, the machine, the clock, and what starts it.
    "tests/gateway/test_full_disk.py::test_a_clean_restart_on_a_full_disk": Fault(
        "a clean restart on a full disk",
        "no bytes or no inodes left, the ballast spent; three times",
        "it starts and serves, and the command line finds it",
    ),
    "tests/end_to_end/test_full_disk.py::test_a_full_disk": Fault(
        "the disk is full, or has no inodes",
        "a small disk, filled while models are called",
        "507 for changes, right predictions, deletions by the ballast; it heals by itself",
    ),
    "tests/end_to_end/test_full_disk.py::test_a_start_on_a_full_disk": Fault(
        "a start on a full disk", "with a build to be written off", "it serves what was deployed"
    ),
    "tests/end_to_end/test_full_disk.py::test_admission_stops_before_the_disk_does": Fault(
        "little room",
        "less than the reserve is free",
        "builds, deployments and uploads are refused, before anything fails",
    ),
    "tests/end_to_end/test_failing_disk.py::test_writes_that_fail": Fault(
        "fsync and write errors",
        "EIO and EROFS in a gateway that runs",
        "503; what was refused did not happen, live, healed and after a kill",
    ),
    "tests/end_to_end/test_failing_disk.py::test_a_build_that_cannot_be_synced": Fault(
        "a build cannot be synced", "EIO on syncfs", "the build fails, and nothing of it stays"
    ),
    "tests/end_to_end/test_power_loss.py::test_nothing_acknowledged_is_at_risk": Fault(
        "loss of power",
        "what was not synced is lost, at every acknowledgement",
        "nothing acknowledged is",
    ),
    "tests/end_to_end/test_killed_starting.py::test_killed_at_a_call": Fault(
        "a first start is killed", "SIGKILL at its n-th call to the disk", "the next start serves"
    ),
    "tests/store/test_failing_disk.py::test_refused_is_refused": Fault(
        "a commit that fails, then a kill",
        "EIO in the commit",
        "the refused transaction never comes true",
    ),
    "tests/store/test_failing_disk.py::test_a_damaged_database_is_refused": Fault(
        "a damaged database", "bytes overwritten", "the start is refused, with what to do"
    ),
    "tests/end_to_end/test_backup.py::test_backups_of_a_busy_life_are_consistent": Fault(
        "a backup in the midst of life",
        "builds, deployments and deletions meanwhile",
        "of one instant: all of it is restored",
    ),
    "tests/end_to_end/test_backup.py::test_a_cut_or_damaged_backup_is_refused": Fault(
        "a damaged backup", "cut, and bits turned over", "refused by the name of what is damaged"
    ),
    "tests/workers/process/test_limits.py::test_out_of_memory": Fault(
        "a memory hog", "more than its limit", "it alone ends, and its caller hears why"
    ),
    "tests/workers/process/test_limits.py::test_out_of_processes": Fault(
        "a fork bomb in a model", "forks without end", "held at its limit; its caller hears why"
    ),
    "tests/workers/process/test_limits.py::test_a_script_is_held_too": Fault(
        "a child that flees from a build",
        "a session of its own, no mark in its environment",
        "it ends with the script",
    ),
    "tests/workers/process/test_limits.py::test_out_of_disk": Fault(
        "a model that writes without end",
        "more than its limit",
        "it alone ends, and its caller hears why",
    ),
    "tests/workers/process/test_output.py::test_a_flood_does_not_stall_its_writer": Fault(
        "a flood of output",
        "far more than the allowance",
        "dropped unread; neither the writer nor others wait",
    ),
    "tests/end_to_end/test_clock.py::test_jumps_of_the_wall_clock": Fault(
        "the wall clock jumps",
        "an hour forth and back",
        "limits, builds and the log's order are as before",
    ),
    "tests/end_to_end/test_service_manager.py::test_nothing_is_lost_over_restarts": Fault(
        "restarts behind a socket", "four callers meanwhile", "nobody is refused or cut off"
    ),
    "tests/end_to_end/test_service_manager.py::test_a_gateway_that_is_stuck_says_nothing": Fault(
        "a stuck gateway", "SIGSTOP", "the watchdog hears nothing"
    ),
    "tests/end_to_end/test_two_gateways.py::test_a_second_gateway": Fault(
        "a second gateway",
        "the same folder, the same port, both",
        "refused by name; the first serves on",
    ),
    # Keys and roles.
    "tests/gateway/predictions/test_model_api_keys.py::test_taken_away_in_a_storm": Fault(
        "a caller is shut out in a storm",
        "keys, user, role, access key, being public or open taken away under four callers",
        "no 200 to what is sent after the acknowledgement",
    ),
    "tests/gateway/predictions/test_model_api_keys.py::test_an_answer_under_way_is_withheld": Fault(
        "a key is revoked while its request is answered",
        "in a queue or at a replica, and the same is asked once more",
        "401 to all of them",
    ),
    "tests/gateway/predictions/test_model_api_keys.py::test_it_expires_at_its_instant": Fault(
        "a key expires", "under a caller who goes on", "200 before its instant, 401 after"
    ),
    "tests/gateway/predictions/test_model_api_keys.py::test_a_stolen_database_has_no_key": Fault(
        "a stolen database", "started without the secrets beside it", "no key of it opens anything"
    ),
    "tests/gateway/identity/test_key_index.py::test_refusals_cannot_be_told_apart": Fault(
        "keys tried out", "wrong, unknown, revoked, expired", "the same work, the same words"
    ),
    "tests/gateway/identity/test_roles.py::test_each_route_for_everybody": Fault(
        "everybody asks for everything",
        "every route, as each role, a stranger, an administrator; private and public",
        "exactly what the table of permissions says",
    ),
    "tests/gateway/identity/test_roles.py::test_who_is_nobody": Fault(
        "an owner's other keys", "a Model API key, none, a disabled owner's", "401 at every route"
    ),
    "tests/gateway/test_authorization.py::test_what_is_no_key_opens_nothing": Fault(
        "what is no key, or one no more", "eleven kinds of them", "401 at every route"
    ),
    "tests/gateway/test_authorization.py::test_ids_do_not_reach_into_other_projects": Fault(
        "ids of another's model", "under a project of one's own", "404, and nothing is changed"
    ),
    # The surface.
    "tests/end_to_end/test_canary.py::test_no_secret_is_where_it_need_not_be": Fault(
        "canaries in place of keys, passwords and variables",
        "all used, well and badly; processes watched as they come and go",
        "none in database, logs, trail, arguments or environments but where it has to be",
    ),
    "tests/end_to_end/test_audit.py::test_changes_and_their_entries_outlive_a_kill_together": Fault(
        "kill -9 while changes are entered", "keys made by four at once", "each has its one entry"
    ),
    "tests/gateway/admin/test_audit.py::test_a_flood_without_a_key_is_bounded": Fault(
        "a flood of refused requests", "without a key", "a few entries and a count"
    ),
    "tests/gateway/http/test_host_check.py::"
    "test_only_calls_and_signs_of_life_are_answered_under_any_name": Fault(
        "DNS rebinding", "another's name in Host", "421 before a key is looked at"
    ),
    "tests/gateway/admin/test_openapi.py::test_the_answers_are_those_described": Fault(
        "requests that fit the description, and do not",
        "schemathesis",
        "no 500, nothing undescribed",
    ),
    # Metrics.
    "tests/store/test_retention.py::test_the_limit_holds_at_writing": Fault(
        "metrics without end",
        "rows of 30 bytes to 60 KB, several times the limit",
        "never more than `metrics_size`, in the file too; the last rows are there",
    ),
    "tests/store/test_retention.py::test_the_disk_has_its_room_again": Fault(
        "metrics that are deleted", "15 of 16 MiB", "the file gets shorter, in short turns"
    ),
    "tests/store/test_retention.py::test_a_large_database_is_copied_in_little_memory": Fault(
        "a backup of a large database", "48 MiB of metrics", "copied whole, in less than 12 MiB"
    ),
    "tests/store/test_retention.py::test_a_copy_ends_while_others_write": Fault(
        "writes during a backup", "one between any two steps of the copy", "it ends, of one view"
    ),
    "tests/gateway/control/metrics/test_retention_clock.py::test_a_jump_forgets_no_metrics": Fault(
        "the clock jumps", "400 days ahead and behind, for a minute", "no metrics are forgotten"
    ),
    "tests/gateway/identity/test_accounts.py::test_a_jump_of_the_clock_moves_no_session": Fault(
        "the clock jumps (sessions)", "years ahead and behind", "none ends early, none lasts longer"
    ),
    "tests/workers/inside/test_tracking.py::test_how_long_it_took": Fault(
        "the clock jumps (durations)", "400 days, within a prediction", "its duration is right"
    ),
    # Experiments.
    "tests/gateway/control/experiments/test_experiments.py::test_a_gateway_that_is_killed": Fault(
        "kill -9 while experiments run and wait",
        "SIGKILL to the gateway, then its next start",
        "what ran has failed and kept what it tracked, what waited runs",
    ),
    "tests/gateway/control/experiments/test_experiments.py::test_what_a_script_leaves_leads_nowhere": Fault(
        "links and pipes among what a script keeps",
        "links to files of others, a pipe in place of its metrics",
        "nothing is read through them, and nobody waits",
    ),
    "tests/workers/process/test_experiment.py::test_what_cannot_be_kept": Fault(
        "what a script keeps, nested by the thousand", "3000 folders", "it is not kept"
    ),
    "tests/gateway/control/experiments/test_experiments.py::test_limits_of_a_script": Fault(
        "a script that fills the disk", "files without end", "ended at `disk_limit`, and told so"
    ),
    # Odd names, depths and numbers.
    "tests/gateway/admin/test_odd_texts.py::test_no_odd_text_is_our_mistake": Fault(
        "text that is no UTF-8 for the admin API",
        "half surrogate pairs, NULs, Latin-1, controls in each path, query, header, body, form",
        "taken or refused as the caller's fault, never a 500",
    ),
    "tests/gateway/admin/test_odd_texts.py::test_names_of_files_that_are_no_text": Fault(
        "file names that are no UTF-8", "files, folders and links", "listed, read and deleted"
    ),
    "tests/workers/test_untrusted_tree.py::test_no_depth_is_too_deep": Fault(
        "folders nested by the thousand", "2,500 of them", "measured, given and removed"
    ),
    "tests/workers/test_untrusted_tree.py::test_folders_that_are_moved_far_below": Fault(
        "folders moved while they are measured", "300 deep", "they count as too much"
    ),
    "tests/builder/test_snapshot.py::test_what_is_too_deep_or_too_much": Fault(
        "a project too deep or of too many files", "201 levels; 300,001 entries", "refused by name"
    ),
    # Levels of isolation.
    "tests/gateway/control/test_sandbox_home.py::test_every_level_after_every_other": Fault(
        "another level of isolation at the next start",
        "a build with absolute paths in a module path, links, programs and data",
        "it answers at each level after each other",
    ),
    "tests/gateway/control/test_sandbox_home.py::test_it_is_rebuilding_meanwhile": Fault(
        "a build that cannot be made again at another level",
        "its script fails there",
        'its model is "rebuilding"; back at the first level it serves as it was',
    ),
    "tests/end_to_end/test_streams.py::test_nobody_reads_them": Fault(
        "nobody reads stdout and stderr",
        "stdout is a pipe whose reader has gone, stderr one that is full",
        "it starts, answers and ends",
    ),
    "tests/end_to_end/test_streams.py::test_all_three_are_closed": Fault(
        "closed standard streams",
        "descriptors 0, 1 and 2 are closed at the start",
        "it starts; no socket or file gets their numbers",
    ),
    "tests/gateway/operations/test_service_log.py::test_a_pipe_that_is_not_read_holds_up_nothing": Fault(
        "a log that is not read", "3,000 lines into a full pipe", "nothing waits; a count is told"
    ),
    # The pages, in a browser.
    "tests/web/test_browser.py::test_a_foreign_form_changes_nothing": Fault(
        "forged forms", "every form, from a page of another origin", "403, though the cookie came"
    ),
    "tests/web/test_browser.py::test_a_foreign_script_changes_and_reads_nothing": Fault(
        "another origin's script", "requests with the cookie", "nothing changed, nothing read"
    ),
    "tests/web/test_browser.py::test_a_session_is_never_one_that_was_there_before": Fault(
        "a planted session", "a cookie from before the sign-in", "the session is another one"
    ),
    "tests/web/test_browser.py::test_signing_out": Fault(
        "a copied cookie", "used after the sign-out", "it opens nothing"
    ),
    "tests/web/test_browser.py::test_no_page_of_ours_is_framed": Fault(
        "a frame around a page", "another origin's page", "it stays empty"
    ),
    "tests/web/test_browser.py::test_what_others_wrote_is_text": Fault(
        "stored markup", "scripts in what somebody wrote", "they are read, not run"
    ),
}
