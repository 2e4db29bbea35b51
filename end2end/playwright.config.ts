// The release build, served from a data folder of its own on a free port, driven by the Chromium of this machine.

import { defineConfig } from '@playwright/test';
import { BINARY, CHROMIUM, serverCommand, serverEnv } from './tests/fixtures/environment';

// Workers load this file again and inherit the environment: the first evaluation decides for all.
const { port, dataDir } = serverEnv();
const baseURL = `http://127.0.0.1:${port}`;

export default defineConfig({
  testDir: 'tests',
  outputDir: 'test-results',
  globalTeardown: './tests/fixtures/teardown.ts',
  forbidOnly: Boolean(process.env.CI),
  // Sandboxes compile and install; two at a time is what two cores bear.
  workers: 2,
  fullyParallel: true,
  retries: 0,
  timeout: 60_000,
  expect: { timeout: 15_000 },
  reporter: [['list']],
  use: {
    baseURL,
    browserName: 'chromium',
    viewport: { width: 1440, height: 900 },
    trace: 'retain-on-failure',
    screenshot: 'only-on-failure',
    launchOptions: { executablePath: CHROMIUM, args: ['--no-sandbox'] },
  },
  webServer: {
    command: serverCommand(BINARY, port, dataDir),
    url: `${baseURL}/healthz`,
    reuseExistingServer: false,
    timeout: 30_000,
    gracefulShutdown: { signal: 'SIGTERM', timeout: 15_000 },
    stdout: 'ignore',
    stderr: 'pipe',
  },
});
