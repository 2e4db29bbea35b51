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

test('an app that was opened while the server was away is loaded again when it is back', async ({ page, console }) => {
  test.setTimeout(90_000);
  console.tolerate(/ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_EMPTY_RESPONSE|Failed to load resource/);
  const server = await Server.start();
  try {
    const workbench = new Workbench(page, server.baseURL);
    await workbench.askSample(/./);
    await workbench.settled();
    // A page that came with its app in it knows that the app is whole: a mere break of the stream does not load it again.
    await page.reload();
    await workbench.hydrated();
    await workbench.appShown();
    const app = page.frames().find((frame) => frame !== page.mainFrame());
    await app?.evaluate(() => document.body.setAttribute('data-kept', ''));
    await server.stop();
    await server.launch();
    await expect.poll(() => openStreams(server)).toBe(1);
    await page.waitForTimeout(500);
    await expect(workbench.app.locator('body[data-kept]')).toBeAttached();

    await server.kill();
    await app?.evaluate(() => location.reload());
    await expect.poll(() => page.frames().some((frame) => frame.url().startsWith('chrome-error:'))).toBe(true);
    await server.launch();
    await workbench.appShown(60_000);
  } finally {
    await server.stop();
  }
});

test('a project that was deleted elsewhere is said to be gone, with a way on', async ({ page, request, console, workbench }) => {
  console.tolerate(/404/);
  await workbench.ask('What can you do?');
  await workbench.settled();
  const project = new URL(page.url()).pathname.split('/').at(-1);
  expect((await request.delete(`/api/projects/${project}`)).ok()).toBe(true);
  await page.getByRole('alert').getByRole('link', { name: 'All projects' }).click();
  await expect(page).toHaveURL('/');
});

test('a hidden tab gives its connection up, and has what it missed when it is seen again', async ({ page, request }) => {
  const server = await Server.start();
  try {
    await page.clock.install();
    const workbench = new Workbench(page, server.baseURL);
    await workbench.ask('What can you do?');
    await workbench.settled();
    await expect.poll(() => openStreams(server)).toBe(1);
    const hide = (hidden: boolean) =>
      page.evaluate((hidden) => {
        Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });
        document.dispatchEvent(new Event('visibilitychange', { bubbles: true }));
      }, hidden);
    await hide(true);
    await page.clock.fastForward(31_000);
    await expect.poll(() => openStreams(server)).toBe(0);
    const project = new URL(page.url()).pathname.split('/').at(-1);
    const sent = await request.post(`${server.baseURL}/api/projects/${project}/messages`, { data: { text: 'Said while away' } });
    expect(sent.ok()).toBe(true);
    await hide(false);
    await expect(workbench.conversation).toContainText('Said while away');
    await expect.poll(() => openStreams(server)).toBe(1);
  } finally {
    await page.close();
    await server.stop();
  }
});

/** How many pages follow their project. */
async function openStreams(server: Server): Promise<number> {
  const text = await fetch(`${server.baseURL}/metrics`).then((answer) => answer.text());
  return Number(/^sandcastle_event_streams (\d+)$/m.exec(text)?.[1]);
}

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
