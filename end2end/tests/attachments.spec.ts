import { expect, test } from './fixtures/test';
import { FakeModel, says } from './fixtures/fake-model';
import { Server } from './fixtures/server';
import { Workbench } from './fixtures/workbench';

/** A picture of one pixel. */
const PIXEL = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGMQqagAAAGoAQXqB0BJAAAAAElFTkSuQmCC', 'base64');

test('files are chosen, pasted, dropped, removed and sent, and are there after a reload', async ({ page }) => {
  const model = await FakeModel.start(says('I see a dot.'));
  const server = await Server.start(model.env);
  try {
    const workbench = new Workbench(page, server.baseURL);
    await workbench.open('/');
    const form = page.getByRole('main');
    await page.getByLabel('Attach images and files').setInputFiles([
      { name: 'dot.png', mimeType: 'image/png', buffer: PIXEL },
      { name: 'notes.txt', mimeType: 'text/plain', buffer: Buffer.from('tea, cake') },
    ]);
    await expect(form.getByRole('img', { name: 'dot.png' })).toBeVisible();
    await drop(page, 'paste', 'pasted.txt');
    await drop(page, 'drop', 'dropped.txt');
    await expect(form.getByText('pasted.txt')).toBeVisible();
    await expect(form.getByText('dropped.txt')).toBeVisible();
    await page.getByRole('button', { name: 'Remove notes.txt' }).click();
    await expect(form.getByText('notes.txt')).toBeHidden();

    // What cannot be sent is named, and nothing else is lost.
    await page.getByLabel('Attach images and files').setInputFiles({ name: 'empty.txt', mimeType: 'text/plain', buffer: Buffer.alloc(0) });
    await expect(page.getByRole('alert')).toContainText('empty.txt is empty.');

    const box = page.getByRole('textbox', { name: 'What shall we build?' });
    await box.fill('What is in the picture?');
    await box.press('Enter');
    await page.waitForURL(/\/p\/[^/]+$/);
    await workbench.settled();
    for (const name of ['pasted.txt', 'dropped.txt']) await expect(workbench.conversation).toContainText(name);
    await page.reload();
    const image = workbench.conversation.getByRole('img', { name: 'dot.png' });
    await expect(image).toBeVisible();
    expect(await image.evaluate((image: HTMLImageElement) => image.naturalWidth)).toBe(1);
  } finally {
    await server.stop();
    await model.stop();
  }
});

/** Pastes or drops a file on the composer, as a browser would tell of it. */
async function drop(page: import('@playwright/test').Page, kind: 'paste' | 'drop', name: string): Promise<void> {
  await page.getByRole('textbox', { name: 'What shall we build?' }).evaluate(
    (box, [kind, name]) => {
      const data = new DataTransfer();
      data.items.add(new File([name], name, { type: 'text/plain' }));
      const event = kind === 'paste'
        ? new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true })
        : new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true });
      box.dispatchEvent(event);
    },
    [kind, name] as const,
  );
}
