// `npm run build`: compiles the contracts and generates contracts/artifacts.gen.ts from them.
import { spawnSync } from 'node:child_process';
import { runHardhat } from './hardhat.ts';

const { code } = await runHardhat(['build']);
process.exitCode =
  code === 0
    ? (spawnSync(process.execPath, ['scripts/generate-artifacts.ts'], { stdio: 'inherit' })
        .status ?? 1)
    : code;
