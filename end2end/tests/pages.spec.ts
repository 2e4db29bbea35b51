import { expect, test } from './fixtures/test';
import { FakeModel, neverEnds } from './fixtures/fake-model';
import { Server } from './fixtures/server';
import { Workbench } from './fixtures/workbench';

// The console of every page is checked by the `console` fixture.
for (const path of ['/', '/runs']) {
  test(`${path} hydrates and has one heading and a title`, async ({ page, workbench }) => {
    await workbench.open(path);
    await expect(page).toHaveTitle(/Sandcastle/);
    await expect(page.getByRole('heading', { level: 1 })).toHaveCount(1);
  });
}

test('every document of a project and of the server opens with a heading and a title', async ({ page, workbench }) => {
  await workbench.askSample(/./);
  await workbench.settled();
  const project = new URL(page.url()).pathname;
  const changes = await page.getByTitle('What changed; go back; fork').first().getAttribute('href');
  const documents = ['/settings', '/settings/models', '/settings/keys', '/import', '/login', `${project}/settings`, `${project}/faults`];
  for (const path of [...documents, changes ?? '']) {
    await page.goto(path);
    await expect(page, path).toHaveTitle(/Sandcastle/);
    await expect(page.getByRole('heading', { level: 1 }), path).toHaveCount(1);
  }
});

test('a page whose WebAssembly has stopped says so once and offers to reload', async ({ page, workbench }) => {
  await workbench.open('/');
  await page.evaluate(() => {
    const error = new WebAssembly.RuntimeError('unreachable');
    dispatchEvent(new ErrorEvent('error', { error }));
    dispatchEvent(new PromiseRejectionEvent('unhandledrejection', { promise: Promise.resolve(), reason: error }));
  });
  await expect(page.getByRole('alert').filter({ hasText: 'stopped working' })).toHaveCount(1);
  await page.getByRole('link', { name: 'Reload it' }).click();
  await expect(page.getByText('stopped working')).toHaveCount(0);
});

test('settings are a document: readable at once, without WebAssembly, with a theme that is kept', async ({ page }) => {
  const loaded: string[] = [];
  page.on('request', (request) => loaded.push(new URL(request.url()).pathname));
  await page.goto('/settings');
  await expect(page.getByRole('heading', { level: 1, name: 'Settings' })).toBeVisible();
  expect(loaded.filter((path) => path.endsWith('.wasm') || path.endsWith('.js'))).toEqual([]);
  await page.getByRole('button', { name: 'Theme: as the system' }).click();
  await expect(page).toHaveURL('/settings');
  await expect(page.locator('html')).toHaveAttribute('data-theme', 'light');
  await page.goto('/');
  await expect(page.locator('html')).toHaveAttribute('data-theme', 'light');
});

test('an unknown project is a page that says so, with status 404', async ({ page, console }) => {
  console.tolerate(/404/);
  const answer = await page.goto('/p/prj_doesnotexist');
  expect(answer?.status()).toBe(404);
  await expect(page).toHaveTitle(/Not found/);
});

test('the first load, HTML, styles, script and WebAssembly, is at most 260 KB compressed', async ({ page, workbench }) => {
  const session = await page.context().newCDPSession(page);
  await session.send('Network.enable');
  const paths = new Map<string, string>();
  const sizes = new Map<string, number>();
  session.on('Network.responseReceived', ({ requestId, response }) => paths.set(requestId, new URL(response.url).pathname));
  session.on('Network.loadingFinished', ({ requestId, encodedDataLength }) => {
    const path = paths.get(requestId) ?? '';
    if (path === '/' || path.startsWith('/pkg/')) sizes.set(path, encodedDataLength);
  });
  await workbench.open('/');
  await page.waitForLoadState('networkidle');
  const total = [...sizes.values()].reduce((sum, bytes) => sum + bytes, 0);
  expect(sizes.size, [...sizes.keys()].join(' ')).toBe(4);
  expect(total, JSON.stringify([...sizes])).toBeLessThanOrEqual(260 * 1000);
});

test('the keyless home page offers samples and says that a demo answers', async ({ page, workbench }) => {
  await workbench.open('/');
  expect(await page.getByRole('group', { name: 'Sample prompts' }).getByRole('button').count()).toBeGreaterThanOrEqual(4);
  await page.getByRole('link', { name: 'add a model' }).click();
  await expect(page).toHaveURL('/settings/models');
  await expect(page.getByRole('heading', { name: 'Endpoints' })).toBeVisible();
});

test('the home page follows its projects without being loaded again', async ({ page, request }) => {
  const model = await FakeModel.start(neverEnds('Thinking'));
  const server = await Server.start(model.env);
  try {
    const workbench = new Workbench(page, server.baseURL);
    await workbench.ask('A small shop');
    await expect(workbench.stopButton).toBeVisible();
    const project = new URL(page.url()).pathname.split('/').pop();
    await workbench.open('/');
    const card = page.getByRole('listitem').filter({ hasText: 'A small shop' });
    await expect(card).toContainText('working');
    await request.post(`${server.baseURL}/api/projects/${project}/stop`);
    await expect(card).not.toContainText('working', { timeout: 15_000 });
  } finally {
    await server.stop();
    await model.stop();
  }
});

test('a prompt the demo cannot build gets an honest answer, not a pretended one', async ({ workbench }) => {
  await workbench.ask('Write an operating system kernel in Ada.');
  await workbench.settled();
  await expect(workbench.conversation).toContainText(/demo/i);
  await expect(workbench.conversation).toContainText('AI_GATEWAY');
  await expect(workbench.previewFrame).toHaveCount(0);
});

test('only spaces are not sent', async ({ page, workbench }) => {
  await workbench.open('/');
  const box = page.getByRole('textbox', { name: 'What shall we build?' });
  await box.fill('   ');
  await box.press('Enter');
  await expect(page).toHaveURL('/');
});
