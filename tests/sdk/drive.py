"""Drives this server through the unmodified PyPI package `e2b`: the blocking half, then the async one.

Run by the integration tests with the environment the package itself reads (E2B_API_URL, E2B_SANDBOX_URL, E2B_API_KEY).
"""

import asyncio
import random
import sys
import threading
import time
import traceback
import urllib.request

from e2b import AsyncSandbox, AuthenticationException, CommandExitException, NotFoundException, Sandbox
from e2b import SandboxQuery, SandboxState, TimeoutException
from e2b.sandbox.commands.command_handle import PtySize

OLD = len(sys.argv) > 1 and sys.argv[1] == "old"
made = []


def create(**options):
    sandbox = Sandbox.create(timeout=120, **options)
    made.append(sandbox)
    return sandbox


def eventually(what, check):
    end = time.time() + 60
    while time.time() < end:
        if check():
            return
        time.sleep(0.02)
    raise AssertionError(f"never happened: {what}")


def raises(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


def a_sandbox_is_created_described_listed_and_killed():
    label = f"listed {random.random()}"
    sandbox = create(metadata={"label": label, "a b": "c/d&e"}, envs={"GREETING": "hello"})
    assert sandbox.is_running()
    info = sandbox.get_info()
    assert info.sandbox_id == sandbox.sandbox_id and info.metadata["a b"] == "c/d&e"
    query = SandboxQuery(metadata={"label": label, "a b": "c/d&e"}, state=[SandboxState.RUNNING])
    found = Sandbox.list(query=query).next_items()
    assert [item.sandbox_id for item in found] == [sandbox.sandbox_id]
    assert sandbox.commands.run("echo $GREETING").stdout == "hello\n"
    assert sandbox.kill() is True
    assert Sandbox.kill(sandbox.sandbox_id) is False
    assert sandbox.is_running() is False
    raises(Exception, lambda: sandbox.commands.run("true"))


def a_command_streams_tells_its_code_and_ends_in_time():
    sandbox = create()
    out, err = [], []
    result = sandbox.commands.run(
        "echo one; echo two >&2; pwd", on_stdout=out.append, on_stderr=err.append, cwd="/tmp"
    )
    assert result.stdout == "one\n/tmp\n" and "".join(out) == result.stdout and "".join(err) == "two\n"
    failure = raises(CommandExitException, lambda: sandbox.commands.run("echo no >&2; exit 3"))
    assert failure.exit_code == 3 and failure.stderr == "no\n"
    assert len(sandbox.commands.run("head -c 3000000 /dev/zero | tr '\\0' x").stdout) == 3_000_000
    raises(TimeoutException, lambda: sandbox.commands.run("sleep 100", timeout=0.3))
    eventually("the command is gone", lambda: not sandbox.commands.list())
    assert sandbox.commands.run("id -un", user="root").stdout == "user\n"
    raises(Exception, lambda: sandbox.commands.run("true", user="nosuch"))


def a_background_command_takes_input_and_is_found_again_with_its_output():
    sandbox = create()
    line = 'echo ready; while read -r line; do echo "got $line"; done; echo closed'
    handle = sandbox.commands.run(line, background=True, stdin=True, timeout=0)
    sandbox.commands.send_stdin(handle.pid, "first\n")
    assert [process.pid for process in sandbox.commands.list()] == [handle.pid]
    handle.disconnect()
    again = Sandbox.connect(sandbox.sandbox_id).commands.connect(handle.pid)
    sandbox.commands.send_stdin(handle.pid, "second\n")
    seen = ""
    for stdout, _, _ in again:
        seen += stdout or ""
        if "got second" in seen:
            break
    assert seen.startswith("ready\ngot first\n"), seen
    assert sandbox.commands.kill(handle.pid) is True
    eventually("it is gone", lambda: sandbox.commands.kill(handle.pid) is False)
    late = sandbox.commands.connect(handle.pid)
    failure = raises(CommandExitException, late.wait)
    assert "got first" in failure.stdout


def a_terminal_is_driven_and_resized():
    sandbox = create()
    pty = sandbox.pty.create(PtySize(rows=30, cols=90), timeout=0)
    screen = bytearray()
    ended = threading.Event()

    def read():
        try:
            for _, _, data in pty:
                screen.extend(data or b"")
        except Exception:
            pass
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    sandbox.pty.send_stdin(pty.pid, b"stty size\n")
    eventually("the size is told", lambda: b"30 90" in screen)
    sandbox.pty.resize(pty.pid, PtySize(rows=40, cols=120))
    sandbox.pty.send_stdin(pty.pid, b"stty size\n")
    eventually("the new size is told", lambda: b"40 120" in screen)
    assert sandbox.pty.kill(pty.pid) is True
    assert ended.wait(60)


def files_are_written_read_listed_moved_watched_and_removed():
    sandbox = create()
    assert sandbox.files.write("docs/a.txt", "hello").path == "/home/user/docs/a.txt"
    assert sandbox.files.read("docs/a.txt") == "hello"
    data = bytes(index % 251 for index in range(300_000))
    sandbox.files.write("/tmp/b.bin", data)
    assert sandbox.files.read("/tmp/b.bin", format="bytes") == data
    several = sandbox.files.write_files([{"path": "m/1", "data": "one"}, {"path": "/tmp/2", "data": "two"}])
    assert [file.path for file in several] == ["/home/user/m/1", "/tmp/2"]
    assert [entry.name for entry in sandbox.files.list("docs")] == ["a.txt"]
    assert sandbox.files.make_dir("made") is True and sandbox.files.make_dir("made") is False
    watch = sandbox.files.watch_dir("made", recursive=True)
    sandbox.files.rename("docs/a.txt", "made/c.txt")
    sandbox.files.write("made/d.txt", "x")
    seen = set()

    def told():
        seen.update((event.type.name, event.name) for event in watch.get_new_events())
        return {("CREATE", "c.txt"), ("CREATE", "d.txt"), ("WRITE", "d.txt")} <= seen

    eventually("all is told", told)
    watch.stop()
    raises(Exception, watch.get_new_events)
    assert sandbox.files.get_info("made/c.txt").size == 5
    sandbox.files.remove("made")
    assert not sandbox.files.exists("made")
    raises(NotFoundException, lambda: sandbox.files.read("nothing"))
    with urllib.request.urlopen(sandbox.download_url("m/1")) as response:
        assert response.read() == b"one"


def a_pause_keeps_files_and_processes():
    sandbox = create()
    sandbox.files.write("kept", "yes")
    counter = sandbox.commands.run(
        "i=0; while sleep 0.05; do i=$((i+1)); echo $i > count; done", background=True, timeout=0
    )
    eventually("it counts", lambda: sandbox.files.exists("count"))
    (sandbox.beta_pause if OLD else sandbox.pause)()
    assert sandbox.is_running() is False
    again = Sandbox.connect(sandbox.sandbox_id)
    assert again.files.read("kept") == "yes"
    assert [process.pid for process in again.commands.list()] == [counter.pid]


def the_time_to_live_ends_the_sandbox():
    sandbox = create()
    sandbox.set_timeout(1)
    eventually("it is gone", lambda: not sandbox.is_running())


def metrics_are_told_and_a_wrong_key_opens_nothing():
    sandbox = create()
    assert sandbox.get_metrics()[0].mem_total > 0
    raises(AuthenticationException, lambda: Sandbox.create(api_key="e2b_" + "0" * 40))


def snapshots_forks_and_streamed_input():
    sandbox = create()
    sandbox.files.write("state", "one")
    snapshot = sandbox.create_snapshot()
    sandbox.files.write("state", "two")
    from_snapshot = Sandbox.create(snapshot.snapshot_id, timeout=60)
    made.append(from_snapshot)
    assert from_snapshot.files.read("state") == "one"
    [fork] = sandbox.fork(timeout=60)
    made.append(fork)
    assert fork.files.read("state") == "two"
    assert Sandbox.delete_snapshot(snapshot.snapshot_id) is True
    handle = sandbox.commands.run("cat", background=True, stdin=True, timeout=0)
    sandbox.commands.stream_input(handle.pid, (part for part in (b"a", b"b", b"c\n")))
    sandbox.commands.close_stdin(handle.pid)
    assert handle.wait().stdout == "abc\n"


async def the_async_half_works_too():
    sandbox = await AsyncSandbox.create(timeout=120)
    try:
        results = await asyncio.gather(*(sandbox.commands.run(f"echo {number}") for number in range(5)))
        assert [result.stdout for result in results] == [f"{number}\n" for number in range(5)]
        await sandbox.files.make_dir("watched")
        events = []
        watch = await sandbox.files.watch_dir("watched", on_event=lambda event: events.append(event.name))
        await sandbox.files.write("watched/x", "1")
        for _ in range(3000):
            if "x" in events:
                break
            await asyncio.sleep(0.02)
        assert "x" in events
        await watch.stop()
    finally:
        await sandbox.kill()


checks = [
    a_sandbox_is_created_described_listed_and_killed,
    a_command_streams_tells_its_code_and_ends_in_time,
    a_background_command_takes_input_and_is_found_again_with_its_output,
    a_terminal_is_driven_and_resized,
    files_are_written_read_listed_moved_watched_and_removed,
    a_pause_keeps_files_and_processes,
    the_time_to_live_ends_the_sandbox,
    metrics_are_told_and_a_wrong_key_opens_nothing,
    the_async_half_works_too,
]
if not OLD:
    checks.append(snapshots_forks_and_streamed_input)

failed = 0
for check in checks:
    try:
        result = check()
        if asyncio.iscoroutine(result):
            asyncio.run(result)
        print(f"ok   {check.__name__}")
    except Exception:
        failed += 1
        print(f"FAIL {check.__name__}: {traceback.format_exc()}")
for sandbox in made:
    try:
        sandbox.kill()
    except Exception:
        pass
sys.exit(1 if failed else 0)
