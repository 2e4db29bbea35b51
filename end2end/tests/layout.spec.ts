import { expect, test } from './fixtures/test';

test.describe('on a phone', () => {
  test.use({ viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });

  test('nothing is wider than the screen, and the panes are tabs with the chat first', async ({ page, workbench }) => {
    await workbench.open('/');
    expect(await sideways(page)).toBe(0);
    await workbench.ask('What can you do?');
    await expect(workbench.view('Chat')).toHaveAttribute('aria-current', 'page');
    await expect(workbench.composer).toBeInViewport();
    expect(await sideways(page)).toBe(0);

    // An app that runs for the first time shows itself.
    await workbench.askSample(/./);
    await expect(workbench.view('Preview')).toHaveAttribute('aria-current', 'page', { timeout: 30_000 });
    await workbench.appShown();
    await expect(workbench.composer).not.toBeInViewport();
    await workbench.clickInApp();
    await workbench.view('Code').click();
    await expect(page.getByRole('tree')).toBeInViewport();
    expect(await sideways(page)).toBe(0);
    await workbench.view('Chat').click();
    await expect(workbench.composer).toBeInViewport();
  });
});

test('without JavaScript the conversation, files and logs of a finished project are all in sight', async ({ browser, origin, workbench, page, console }) => {
  console.tolerate(/was preloaded using link preload but not used/);
  await workbench.askSample(/./);
  await workbench.appShown();
  await workbench.settled();
  const context = await browser.newContext({ javaScriptEnabled: false, baseURL: origin });
  try {
    const plain = await context.newPage();
    await plain.goto(page.url());
    await expect(plain.getByRole('log').first()).toBeVisible();
    for (const pane of ['Preview', 'Code', 'Logs', 'Runs']) {
      const panel = plain.locator(`#pane-${pane.toLowerCase()}`);
      await expect(panel, pane).toBeVisible();
      expect((await panel.boundingBox())!.height, pane).toBeGreaterThan(40);
    }
    await expect(plain.getByRole('tree')).toBeVisible();
    await expect(plain.locator('#pane-logs').getByRole('list', { name: 'Commands' })).toContainText('server.mjs');
    await expect(plain.getByRole('region', { name: 'Output' })).toBeVisible();
    await plain.getByRole('treeitem', { name: /server\.mjs/ }).click();
    await expect(plain.locator('#pane-code')).toContainText('createServer');
    await expect(plain.locator('#pane-runs').getByRole('link', { name: /agentTurn/ }).first()).toBeVisible();
  } finally {
    await context.close();
  }
});

test.describe('without JavaScript', () => {
  test.use({ javaScriptEnabled: false });

  test('a prompt can be sent, and the conversation, files and logs can be read', async ({ page, console }) => {
    // Only a script would use it.
    console.tolerate(/was preloaded using link preload but not used/);
    await page.goto('/');
    await page.getByRole('textbox', { name: 'What shall we build?' }).fill('Write an operating system kernel in Ada.');
    await page.getByRole('button', { name: 'Send' }).click();
    await page.waitForURL(/\/p\/[^/]+$/);
    await expect(async () => {
      await page.reload();
      await expect(page.getByRole('log').first()).toContainText(/demo/i, { timeout: 1_000 });
    }).toPass();
    await expect(page.getByRole('log').first()).toContainText('Write an operating system kernel in Ada.');
  });
});

test('the splitter is where it was left, already in the HTML of the server', async ({ page, workbench }) => {
  await workbench.ask('What can you do?');
  await workbench.settled();
  const splitter = page.getByRole('separator').first();
  const before = (await splitter.boundingBox())!;
  await page.mouse.move(before.x + before.width / 2, before.y + 200);
  await page.mouse.down();
  await page.mouse.move(before.x + before.width / 2 - 60, before.y + 200, { steps: 5 });
  await page.mouse.up();
  const moved = (await splitter.boundingBox())!.x;
  expect(Math.abs(moved - (before.x - 60))).toBeLessThan(8);
  await page.reload({ waitUntil: 'domcontentloaded' });
  expect(Math.abs((await splitter.boundingBox())!.x - moved)).toBeLessThan(3);
});

test('light and dark are remembered', async ({ page, workbench }) => {
  await workbench.open('/');
  const lightness = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const first = await lightness();
  const button = page.getByRole('button', { name: /theme|dark|light/i });
  await expect(async () => {
    await button.click();
    expect(await lightness()).not.toBe(first);
  }).toPass();
  const chosen = await lightness();
  await page.reload();
  expect(await lightness()).toBe(chosen);
});

/** How many pixels the page can be scrolled sideways. */
function sideways(page: import('@playwright/test').Page): Promise<number> {
  return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
}
