import { expect, test } from './fixtures/test';
import { calls, FakeModel, says } from './fixtures/fake-model';
import { Server } from './fixtures/server';
import { Workbench } from './fixtures/workbench';

/** Reads its page anew each time, as a development server does. */
const APP = `import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
createServer((request, response) => {
  response.setHeader('content-type', 'text/html');
  response.end(readFileSync('index.html'));
}).listen(3000, '0.0.0.0');
`;

const PAGE = `<!doctype html>
<title>Counter</title>
<h1>Counter</h1>
<button>0</button>
<script>
  document.querySelector('button').onclick = (event) => { event.target.textContent = next(event.target.textContent); };
</script>
`;

test('an error that only a click shows reaches the agent by itself, and the mended app is in the preview', async ({ page, console }) => {
  console.tolerate(/^uncaught: next is not defined$/);
  const model = await FakeModel.start(
    calls(
      ['create_sandbox', {}],
      ['generate_files', { files: [{ path: 'server.mjs', content: APP }, { path: 'index.html', content: PAGE }] }],
      ['run_command', { command: 'node server.mjs', background: true }],
      ['get_sandbox_url', { port: 3000 }],
    ),
    says('A counter: click it.'),
    calls(['edit_file', { path: 'index.html', edits: [{ search: 'next(event.target.textContent)', replace: '1 + +event.target.textContent' }] }]),
    says('The button called a function that was not there.'),
  );
  const server = await Server.start(model.env);
  try {
    const workbench = new Workbench(page, server.baseURL);
    await workbench.ask('A counter');
    await workbench.appShown();
    await workbench.settled();
    const button = workbench.app.getByRole('button');
    await button.evaluate((here) => (here.textContent = 'from before'));
    await button.click();
    await expect(workbench.conversation).toContainText('Auto-fix: 1 error');
    await expect(workbench.conversation).toContainText('a function that was not there');
    await workbench.settled();
    const asked = model.asked();
    expect(asked, 'the model was told the error of the page').toContain('next is not defined');
    await expect(button, 'the page was loaded again').toHaveText('0');
    await button.click();
    await expect(button, 'it is mended').toHaveText('1');
    await expect(page.getByText(/not fixed|being fixed/)).toBeHidden();
    expect(model.asked(), 'nothing more was asked').toBe(asked);
  } finally {
    await server.stop();
    await model.stop();
  }
});
