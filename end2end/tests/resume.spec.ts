import { expect, test } from './fixtures/test';
import { Server } from './fixtures/server';
import { Workbench } from './fixtures/workbench';

test('a reload in mid-stream loses nothing and repeats nothing', async ({ page, workbench }) => {
  await workbench.askSample(/./);
  await expect(workbench.stopButton).toBeVisible();
  for (let i = 0; i < 3; i++) {
    await page.reload();
    await workbench.hydrated();
  }
  await workbench.appShown();
  await workbench.settled();
  const live = await workbench.conversation.innerText();
  await page.reload();
  await workbench.hydrated();
  expect(withoutTimes(await workbench.conversation.innerText())).toBe(withoutTimes(live));
});

test('two tabs stay in step', async ({ page, context, workbench, origin }) => {
  await workbench.askSample(/./);
  const other = new Workbench(await context.newPage(), origin);
  await other.open(new URL(page.url()).pathname);
  await workbench.appShown();
  await workbench.settled();
  await other.settled();
  await other.send('Make it dark');
  await expect(workbench.conversation).toContainText('Make it dark');
  await other.settled();
  await workbench.settled();
  expect(withoutTimes(await workbench.conversation.innerText())).toBe(withoutTimes(await other.conversation.innerText()));
});

test('kill -9 in the middle of a turn: after a restart it goes on, and nothing finished runs twice', async ({ page, console }) => {
  test.setTimeout(120_000);
  // What the browser itself says about a server that is away.
  console.tolerate(/ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_EMPTY_RESPONSE|Failed to load resource/);
  const server = await Server.start();
  try {
    const workbench = new Workbench(page, server.baseURL);
    await workbench.askSample(/./);
    await expect(workbench.stopButton).toBeVisible();
    // The first finished task is on record before the server dies.
    const project = new URL(page.url()).pathname.split('/').at(-1);
    await expect.poll(async () => (await finishedTasks(server, project)).length, { intervals: [20] }).toBeGreaterThan(0);
    const before = await finishedTasks(server, project);
    await server.kill();
    await server.launch();

    // The open page catches up by itself.
    await workbench.settled();
    // Only an app that was being loaded when the server died has to be loaded again: the browser's own error page stays.
    const cut = page.frames().some((frame) => frame.url().startsWith('chrome-error:'));
    if (cut || (await workbench.app.locator('body.neterror').count()) > 0) {
      await page.getByRole('toolbar', { name: 'Preview' }).getByRole('button', { name: 'Reload' }).click();
    }
    await workbench.appShown(60_000);
    const after = await finishedTasks(server, project);
    expect(new Set(after).size, 'no task has two successful runs for one call').toBe(after.length);
    expect(after).toEqual(expect.arrayContaining(before));
    const live = withoutTimes(await workbench.conversation.innerText());
    await page.reload();
    await workbench.hydrated();
    expect(withoutTimes(await workbench.conversation.innerText())).toBe(live);
  } finally {
    await server.stop();
  }
});

/** The tool calls of a project whose run succeeded. */
async function finishedTasks(server: Server, project: string | undefined): Promise<string[]> {
  const answer = await fetch(`${server.baseURL}/api/runs?project=${project}`);
  if (!answer.ok) return [];
  const body = (await answer.json()) as Run[] | { runs: Run[] };
  const runs = Array.isArray(body) ? body : body.runs;
  return runs.filter((run) => run.status === 'COMPLETED' && run.call).map((run) => `${run.task} ${run.call}`);
}

interface Run {
  task: string;
  status: string;
  call?: string;
}

/** Durations and ages differ between a live page and a reloaded one; words do not. */
function withoutTimes(text: string): string {
  return text.replace(/\d+(\.\d+)? ?(ms|s|m|min|h)\b/g, '').replace(/\b(just now|now)\b/g, '').replace(/\s+/g, ' ').trim();
}
