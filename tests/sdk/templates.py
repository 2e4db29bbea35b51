"""Builds templates through the unmodified PyPI package `e2b`. Run as `drive.py` is."""

import asyncio
import pathlib
import sys
import tempfile
import traceback

from e2b import AsyncSandbox, AsyncTemplate, Sandbox, Template, wait_for_port
from e2b.exceptions import BuildException

context = pathlib.Path(tempfile.mkdtemp())
(context / "package").mkdir()
(context / "package" / "inner.txt").write_text("inner")
(context / "ignored.log").write_text("ignored")
(context / ".dockerignore").write_text("*.log\n")
(context / "a.txt").write_text("a")
(context / "b.txt").write_text("b")
made = []


def builder(kind=Template):
    return kind(file_context_path=context)


def create(name):
    sandbox = Sandbox.create(name, timeout=120)
    made.append(sandbox)
    return sandbox


def a_template_brings_its_files_variables_and_start_command():
    logs = []
    template = (
        builder()
        .from_python_image("3")
        .set_envs({"GREETING": "hello"})
        .copy("package", "package")
        .copy("*.txt", "texts/")
        .copy(".", "all", resolve_symlinks=True, gzip=False)
        .run_cmd("echo $GREETING > made")
        .make_dir("empty", mode=0o700)
        .rename("made", "renamed")
        .make_symlink("renamed", "linked")
        .set_start_cmd("python3 -m http.server 8124", wait_for_port(8124))
    )
    info = Template.build(template, "py-tools", on_build_logs=lambda entry: logs.append(entry.message))
    assert any("RUN echo" in line for line in logs), logs
    sandbox = create("py-tools")
    said = sandbox.commands.run("cat package/inner.txt texts/a.txt texts/b.txt linked; ls all; stat -c %a empty").stdout
    assert said == "innerabhello\na.txt\nb.txt\npackage\n700\n", said
    assert sandbox.commands.run("curl -s http://127.0.0.1:8124/renamed").stdout == "hello\n"
    assert sandbox.get_info().template_id == info.template_id


def names_and_tags():
    Template.build(builder().from_base_image().run_cmd("echo 1 > n"), "py-tagged:one", tags=["default"])
    assert Template.exists("py-tagged") and not Template.exists("py-nothing")
    told = Template.assign_tags("py-tagged:one", ["two"])
    assert set(told.tags) == {"one", "two", "default"}
    assert {tag.tag for tag in Template.get_tags("py-tagged")} == {"one", "two", "default"}
    Template.remove_tags("py-tagged", ["two"])
    assert {tag.tag for tag in Template.get_tags("py-tagged")} == {"one", "default"}


def a_failure_is_told_at_its_step():
    template = builder().from_base_image().run_cmd("true").run_cmd("echo because >&2; exit 7")
    try:
        Template.build(template, "py-broken")
        raise AssertionError("it was built")
    except BuildException as error:
        assert "exit status 7: because" in str(error), error


async def the_async_half_builds_in_the_background():
    info = await AsyncTemplate.build_in_background(builder(AsyncTemplate).from_base_image().run_cmd("echo x > y"), "py-async")
    for _ in range(3000):
        status = await AsyncTemplate.get_build_status(info)
        if status.status.value in ("ready", "error"):
            break
        await asyncio.sleep(0.02)
    assert status.status.value == "ready", status
    sandbox = await AsyncSandbox.create("py-async", timeout=60)
    assert await sandbox.files.read("y") == "x\n"
    await sandbox.kill()


failed = 0
for check in [
    a_template_brings_its_files_variables_and_start_command,
    names_and_tags,
    a_failure_is_told_at_its_step,
    the_async_half_builds_in_the_background,
]:
    try:
        result = check()
        if asyncio.iscoroutine(result):
            asyncio.run(result)
        print(f"ok   {check.__name__}")
    except Exception:
        failed += 1
        print(f"FAIL {check.__name__}: {traceback.format_exc()}")
for sandbox in made:
    sandbox.kill()
sys.exit(1 if failed else 0)
