import { expect, test } from './fixtures/test';
import { FakeModel, neverEnds, says } from './fixtures/fake-model';
import { Server } from './fixtures/server';
import { Workbench } from './fixtures/workbench';

test('what is typed and chosen before the page is alive is there when it is', async ({ page, workbench, console }) => {
  // The browser's word about a WebAssembly that is late.
  console.tolerate(/was preloaded using link preload but not used/);
  let arrive = () => {};
  const late = new Promise<void>((done) => (arrive = done));
  await page.route('**/*.wasm', async (route) => {
    await late;
    await route.continue();
  });
  await page.goto('/', { waitUntil: 'commit' });
  const box = page.getByRole('textbox', { name: 'What shall we build?' });
  await box.fill('Words of an early bird');
  await page.getByLabel('Attach images and files').setInputFiles({ name: 'early.txt', mimeType: 'text/plain', buffer: Buffer.from('worm') });
  await expect(page.locator('html[data-hydrated]')).toHaveCount(0);
  arrive();
  await workbench.hydrated();
  await expect(page.getByRole('link', { name: 'early.txt' })).toBeVisible();
  await expect(box).toHaveValue('Words of an early bird');
  await box.press('Enter');
  await page.waitForURL(/\/p\/[^/]+$/);
  await expect(workbench.conversation).toContainText('Words of an early bird');
  await workbench.open('/');
  await expect(box, 'what was sent is no draft').toHaveValue('');
});

test('a sample prompt leaves what was typed', async ({ page, workbench }) => {
  await workbench.open('/');
  const box = page.getByRole('textbox', { name: 'What shall we build?' });
  await box.fill('An idea of my own');
  await page.getByRole('group', { name: 'Sample prompts' }).getByRole('button').first().click();
  await page.waitForURL(/\/p\/[^/]+$/);
  await workbench.open('/');
  await expect(box).toHaveValue('An idea of my own');
});

test('a file dropped beside the composer is attached, and cells of a table are pasted as text', async ({ page, workbench }) => {
  await workbench.open('/');
  const taken = (kind: 'dragover' | 'drop') =>
    page.getByRole('banner').evaluate((banner, kind) => {
      const data = new DataTransfer();
      data.items.add(new File(['tea'], 'beside.txt', { type: 'text/plain' }));
      return !banner.dispatchEvent(new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
    }, kind);
  expect(await taken('dragover'), 'the tab does not open it').toBe(true);
  expect(await taken('drop'), 'the tab does not open it').toBe(true);
  await expect(page.getByRole('link', { name: 'beside.txt' })).toBeVisible();

  const box = page.getByRole('textbox', { name: 'What shall we build?' });
  const pasted = await box.evaluate((box) => {
    const data = new DataTransfer();
    data.setData('text/plain', 'tea\t3\ncake\t4');
    data.items.add(new File(['x'], 'image.png', { type: 'image/png' }));
    return box.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }));
  });
  expect(pasted, 'the field takes the text').toBe(true);
  await expect(page.getByRole('listitem').filter({ hasText: 'image.png' })).toHaveCount(0);
});

test('what is typed while a message is on its way stays, and a withdrawn message is put back before it', async ({ page }) => {
  const model = await FakeModel.start(neverEnds('On it'), says('Done.'));
  const server = await Server.start(model.env);
  try {
    const workbench = new Workbench(page, server.baseURL);
    await workbench.ask('First');
    await expect(workbench.conversation).toContainText('On it');

    let arrive = () => {};
    const late = new Promise<void>((done) => (arrive = done));
    await page.route('**/api/fn/send_message', async (route) => {
      await late;
      await route.continue();
    });
    await workbench.composer.fill('Second');
    await workbench.composer.press('Enter');
    await workbench.composer.fill('Third, not sent');
    arrive();
    await expect(workbench.conversation).toContainText('Second');
    await expect(workbench.composer).toHaveValue('Third, not sent');

    await page.getByRole('button', { name: 'Withdraw' }).click();
    await expect(workbench.composer).toHaveValue('Second\n\nThird, not sent');
    await expect(workbench.composer).toBeFocused();
    await expect(workbench.conversation).not.toContainText('Second');
  } finally {
    await page.close();
    await server.stop();
    await model.stop();
  }
});
