import { expect, test } from './fixtures/test';

/** The sample that needs no installation is the first one offered. */
const INSTANT = /./;
const NEXT = /next\.js/i;

test('the instant app: from the prompt to a clicked preview, then a change by hot reload', async ({ workbench }) => {
  await workbench.askSample(INSTANT);
  await workbench.appShown();
  await workbench.clickInApp();
  await workbench.settled();
  await changesWithoutReload(workbench);
});

test('the Next.js app: a real install, the dev server in the preview, a change by hot reload', async ({ workbench }) => {
  test.setTimeout(360_000);
  await workbench.askSample(NEXT);
  await expect(workbench.conversation).toContainText('npm install', { timeout: 60_000 });
  await workbench.appShown(300_000);
  await workbench.settled(120_000);
  await workbench.clickInApp();
  await changesWithoutReload(workbench, 60_000);
});

test('what was built is in every pane: files, logs, runs', async ({ page, workbench }) => {
  await workbench.askSample(INSTANT);
  await workbench.appShown();
  await workbench.settled();

  await workbench.tab('Code').click();
  const file = page.getByRole('treeitem', { name: /server\.mjs|\.html/ }).first();
  await file.click();
  await expect(page.getByRole('tabpanel', { name: /Code/ })).toContainText(/http|html/i);

  await workbench.tab('Logs').click();
  await expect(page.getByRole('tabpanel', { name: /Logs/ })).toContainText(/node/);

  await workbench.tab('Runs').click();
  const run = page.getByRole('tabpanel', { name: /Runs/ }).getByRole('link').first();
  await run.click();
  await expect(page).toHaveURL(/\/runs\/[^/]+$/);
  await workbench.hydrated();
  await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
});

/** Asks the demo's own follow-up and sees it in the running app. */
async function changesWithoutReload(workbench: import('./fixtures/workbench').Workbench, timeout = 20_000): Promise<void> {
  const before = await workbench.appLightness();
  // A page that is loaded again forgets this.
  await workbench.app.locator('html').evaluate((html) => Object.assign(html, { sameDocument: true }));
  await workbench.send('Make it dark');
  await expect.poll(() => workbench.appLightness().catch(() => before), { timeout }).toBeLessThan(0.25);
  expect(before, 'it was light').toBeGreaterThan(0.5);
  const kept = await workbench.app.locator('html').evaluate((html) => 'sameDocument' in html);
  expect(kept, 'the change came without loading the page again').toBe(true);
  await workbench.settled(timeout);
}
