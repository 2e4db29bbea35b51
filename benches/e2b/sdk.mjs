// Times the unmodified npm package `e2b` against this server; prints all samples in milliseconds as JSON.
import { pathToFileURL } from 'node:url'

const { Sandbox } = await import(pathToFileURL(process.argv[2]))

const first = []
for (let round = 0; round < 35; round += 1) {
  const begun = performance.now()
  const sandbox = await Sandbox.create({ timeoutMs: 60_000 })
  await new Promise((seen, failed) => {
    sandbox.commands.run('echo hi', { onStdout: () => seen(performance.now()) }).catch(failed)
  })
  first.push(performance.now() - begun)
  await sandbox.kill()
}
const sandbox = await Sandbox.create({ timeoutMs: 60_000 })
const run = []
for (let round = 0; round < 105; round += 1) {
  const begun = performance.now()
  await sandbox.commands.run('true')
  run.push(performance.now() - begun)
}
await sandbox.kill()
// The first rounds are node's own start: connections and compiled code.
console.log(JSON.stringify({ first: first.slice(5), run: run.slice(5) }))
