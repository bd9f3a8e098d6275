// Commands of operators, and those that hold gateways to what they signed.
import { type Add, DRY_RUN, example } from './add.ts';

export function addGatewayCommands(add: Add): void {
  add(
    'down',
    'stop the house on this machine; its state stays',
    async () => (await import('../house/stop.ts')).down,
  );
  add(
    'reset',
    'stop the house on this machine and put its state aside; the next start begins anew',
    async () => (await import('../house/stop.ts')).reset,
  );
  add(
    'bond <tokens>',
    'add tokens of the wallet to the bond of the gateway (operator)',
    async () => (await import('../cli/bond.ts')).bond,
  )
    .option('--units', 'the amount is in base units')
    .option(
      '--settler <address>',
      'account that settles for the gateway from now on, with these contracts',
    )
    .option(...DRY_RUN)
    .addHelpText('after', example('bond 500'));
  add(
    'unbond <tokens>',
    'start to take this amount out of the bond; 0 cancels it (operator)',
    async () => (await import('../cli/bond.ts')).unbond,
  )
    .option('--units', 'the amount is in base units')
    .option(...DRY_RUN)
    .addHelpText('after', example('unbond 250'));
  add(
    'leave',
    'move the unbonded amount to free money, ready for withdraw (operator)',
    async () => (await import('../cli/bond.ts')).leave,
  )
    .option('--floats', 'also take back what is set aside for payees; it thaws first')
    .option(...DRY_RUN)
    .addHelpText('after', example('leave --floats'));
  add(
    'fee [percent]',
    'announce the share of each price that the gateway keeps, or show it (operator)',
    async () => (await import('../cli/fee.ts')).fee,
  )
    .option(...DRY_RUN)
    .addHelpText('after', example('fee 2.5'));
  add(
    'rotate-key',
    'replace the key that signs for the gateway, and retire the old one (operator)',
    async () => (await import('../cli/rotate-key.ts')).rotateKey,
  )
    .option('--stolen', 'somebody else has the old key: retire it first')
    .option('--key-file <path>', 'where the gateway reads its key (DEFAAS_KEYS_OPERATOR_FILE)')
    .option(...DRY_RUN)
    .addHelpText('after', example('rotate-key'));
  add(
    'audit',
    'recompute every bill from the chain and IPFS alone',
    async () => (await import('../cli/audit.ts')).audit,
  )
    .option('--evidence <folder>', 'write a file for each finding that the chain would punish')
    .addHelpText('after', example('audit --evidence found'));
  add(
    'watch',
    'check what gateways settle, prove frauds, and sign the daily vouchers of mandated lanes',
    async () => (await import('../cli/watch.ts')).watch,
  )
    .option('--auto', 'demand withheld receipts; each answered demand costs the pledge')
    .option('--once', 'check once and exit, for cron')
    .option('--all', 'check the lanes of all payers, as far as public data allows')
    .option('--every <seconds>', 'time between two checks; default 300')
    .option(
      '--patience <minutes>',
      'time after which a missing batch counts as withheld; default 10',
    )
    .option(...DRY_RUN)
    .addHelpText('after', example('watch --once --auto'));
  add(
    'demand <receipt...>',
    'make a gateway show a settled receipt, named by its id, or by gateway, batch, claim and index',
    async () => (await import('../cli/demand.ts')).demand,
  )
    .option(...DRY_RUN)
    .addHelpText('after', example('demand 0x9965507d1a55bcc2695c58ba16fb37d819b0a4dc 12 0 3'));
  add(
    'prove <file>',
    'send the evidence of a fraud, if the chain confirms it',
    async () => (await import('../cli/prove.ts')).prove,
  )
    .option(...DRY_RUN)
    .addHelpText('after', example('prove found/overcharge-0x1f.json'));
  add(
    'expire <demand>',
    'collect an unanswered demand, by its id, or all of them',
    async () => (await import('../cli/expire.ts')).expire,
  )
    .option(...DRY_RUN)
    .addHelpText('after', example('expire all'));
  add(
    'doctor',
    'check everything and say what is wrong',
    async () => (await import('../cli/doctor.ts')).doctor,
  ).option('--fix', 'remove orphans from the clouds and redeploy what is missing (operator)');
}
