import { expect, test } from './fixtures/test';
import { FakeModel, neverEnds } from './fixtures/fake-model';
import { Server } from './fixtures/server';
import { Workbench } from './fixtures/workbench';

test('Escape closes what is nearest, and stops the turn only when that is nothing else', async ({ page }) => {
  const model = await FakeModel.start(neverEnds('Thinking about it'));
  const server = await Server.start(model.env);
  try {
    const workbench = new Workbench(page, server.baseURL);
    await workbench.ask('Something long');
    await expect(workbench.conversation).toContainText('Thinking about it');

    const facts = page.locator('#sandbox-facts');
    await page.getByRole('button', { name: 'working' }).click();
    await expect(facts).toBeVisible();
    await page.keyboard.press('Escape');
    await expect(facts).toBeHidden();
    await expect(workbench.stopButton).toBeVisible();

    await page.getByTitle('Rename').click();
    await page.getByRole('textbox', { name: 'Project name' }).press('Escape');
    await expect(page.getByTitle('Rename')).toBeFocused();
    await expect(workbench.stopButton).toBeVisible();

    await workbench.composer.press('Escape');
    await workbench.settled();
    await expect(workbench.conversation).toContainText(/stopped/i);
  } finally {
    await page.close();
    await server.stop();
    await model.stop();
  }
});

test('a project is renamed and deleted by keys', async ({ page, workbench }) => {
  const name = `Tea house ${Date.now()}`;
  await workbench.ask('What can you do?');
  await workbench.settled();
  const rename = page.getByTitle('Rename');
  await rename.press('Enter');
  const field = page.getByRole('textbox', { name: 'Project name' });
  await expect(field).toBeFocused();
  await field.fill(name);
  await field.press('Enter');
  await expect(rename).toHaveText(name);
  await expect(rename).toBeFocused();
  await expect(page).toHaveTitle(new RegExp(name));

  await workbench.open('/');
  const remove = page.getByRole('button', { name: `Delete ${name}` });
  const question = page.getByRole('dialog', { name: `Delete “${name}”?` });
  await remove.press('Enter');
  await expect(question).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(question).toBeHidden();
  await expect(remove).toBeFocused();
  await remove.press('Enter');
  await question.getByRole('button', { name: 'Delete project' }).press('Enter');
  await expect(remove).toHaveCount(0);
  await workbench.open('/');
  await expect(page.getByRole('main')).not.toContainText(name);
});

test('the file tree is one stop for Tab and is walked by arrow keys', async ({ page, workbench }) => {
  await workbench.askSample(/./);
  await workbench.appShown();
  await workbench.settled();
  await workbench.tab('Code').click();
  const tree = page.getByRole('tree');
  await expect(tree.locator('[role="treeitem"][tabindex="0"]')).toHaveCount(1);
  const folder = tree.locator('[role="treeitem"][aria-expanded="true"]').first();
  const name = (await folder.innerText()).trim();
  const row = tree.getByRole('treeitem', { name });
  const rows = await tree.getByRole('treeitem').count();
  await folder.focus();
  await page.keyboard.press('ArrowLeft');
  await expect(row).toHaveAttribute('aria-expanded', 'false');
  await expect(row, 'a fold keeps the focus').toBeFocused();
  expect(await tree.getByRole('treeitem').count()).toBeLessThan(rows);
  await page.keyboard.press('ArrowRight');
  await expect(row).toHaveAttribute('aria-expanded', 'true');
  await page.keyboard.press('ArrowRight');
  const inside = tree.locator('[role="treeitem"]:focus');
  await expect(inside).toHaveAttribute('aria-level', '2');
  await page.keyboard.press('ArrowLeft');
  await expect(row).toBeFocused();
  await page.keyboard.press('End');
  await page.keyboard.press('Enter');
  await expect(tree.locator('[role="treeitem"]:focus')).toHaveAttribute('aria-selected', 'true');
  await expect(tree.locator('[role="treeitem"][tabindex="0"]')).toHaveCount(1);
});
