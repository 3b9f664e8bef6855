// Downloads a model in a process of its own: node --import tsx hub-client.ts ID
import { resolveModel } from '../../lib/index.js';

let last = 0;
const folder = await resolveModel(process.argv[2], {
  onProgress: ({ bytes, totalBytes }) => {
    if (bytes - last < totalBytes / 10) return;
    last = bytes;
    process.stdout.write(`bytes ${bytes}\n`);
  },
});
process.stdout.write(`folder ${folder}\n`);
