// Shows long work step by step: a live list on a terminal, one line per step elsewhere, nothing
// with `--json`.
import type { Flags } from './context.ts';

export interface Step {
  readonly title: string;
  /** `report` shows the current action. */
  run(report: (line: string) => void): Promise<void>;
}

/** Runs the steps in order. Stops at the first failure and throws it. */
export async function runSteps(flags: Pick<Flags, 'json'>, steps: readonly Step[]): Promise<void> {
  if (!flags.json && process.stdout.isTTY && process.stderr.isTTY) return runLive(steps);
  const report = (line: string) => {
    if (!flags.json) process.stderr.write(`  ${line}\n`);
  };
  for (const { title, run } of steps) {
    report(title);
    await run((line) => report(`  ${line}`));
  }
}

async function runLive(steps: readonly Step[]): Promise<void> {
  const { Listr } = await import('listr2');
  const list = new Listr(
    steps.map(({ title, run }) => ({
      title,
      task: (_: unknown, task: { output: string }) =>
        run((line) => {
          task.output = line;
        }),
      rendererOptions: { persistentOutput: true, outputBar: 8 },
    })),
    // The error is printed once, like every error of the command line.
    { rendererOptions: { showErrorMessage: false, collapseErrors: false } },
  );
  await list.run();
}
