// Commands for accounts and money, and for who may call.
import { type Add, DRY_RUN, example } from './add.ts';

export function addMoneyCommands(add: Add): void {
  add(
    'account <action> [name]',
    'new, list, import, export, use, or fund (local chain) a key of this machine',
    async () => (await import('../cli/accounts.ts')).account,
  )
    .option('--key-file <path>', 'import: read the private key from this file, else standard input')
    .addHelpText('after', example('account new alice'));
  add(
    'whoami',
    'show the account that commands use, and where its key is',
    async () => (await import('../cli/accounts.ts')).whoami,
  );
  add(
    'deposit <tokens>',
    'set money aside for calls at the gateway',
    async () => (await import('../cli/deposit.ts')).deposit,
  )
    .option('--units', 'the amount is in base units')
    .option('--to <where>', 'lane: ready for calls; free: deposit only', 'lane')
    .option('--daily <tokens>', 'the most that the lane may spend per UTC day; none: no limit');
  add(
    'balance',
    'show what is free, set aside, served and settled',
    async () => (await import('../cli/balance.ts')).balance,
  );
  add(
    'withdraw [amount]',
    'withdraw free money to the wallet; money set aside must thaw first',
    async () => (await import('../cli/withdraw.ts')).withdraw,
  )
    .option('--units', 'the amount is in base units')
    .option('--from <gateway>', 'account of the gateway, if money is set aside at several')
    .option('--cancel', 'stop the running thaw: the money serves calls again')
    .addHelpText('after', example('withdraw 2.5'));
  add(
    'migrate',
    'move money to the contracts that replace older ones; run again after the thaw',
    async () => (await import('../cli/migrate.ts')).migrate,
  ).requiredOption('--to <set>', 'id of the new set in the deployment file');
  add(
    'sponsor <function>',
    'show or set what the publisher pays for its callers per day',
    async () => (await import('../cli/sponsor.ts')).sponsor,
  )
    .option('--daily <tokens>', 'the most to pay per UTC day')
    .option('--days <count>', 'number of days, 2 by default; watch signs for each day')
    .option('--renew', 'renew: watch signs the same number of days again before they end')
    .option('--stop', 'pay nothing more')
    .option('--deposit <tokens>', 'set this much more aside to pay from')
    .addHelpText('after', example('sponsor hello --daily 0.5 --renew --deposit 5'));
  add(
    'estimate <function>',
    'estimate what calls cost, and how many a deposit buys',
    async () => (await import('../cli/estimate.ts')).estimate,
  )
    .option('--ms <typical>', 'how long a call takes; default 100, at most its timeout')
    .option('--calls <count>', 'show the price of this many calls', '1000')
    .option('--deposit <tokens>', 'show how many calls this deposit buys', '1');
  add(
    'grant <function> <address>',
    'let an account use a function that is not public',
    async () => (await import('../cli/grant.ts')).grant,
  )
    .option(
      '--expires <when>',
      'number of days, or the last day such as 2027-01-31; default 365 days',
    )
    .option('--scopes <scopes>', 'comma-separated: invoke, subscribe, logs', 'invoke');
  add(
    'grants <function>',
    'list who may use a function that is not public, and until when',
    async () => (await import('../cli/grants.ts')).grants,
  );
  add(
    'revoke <function> [address]',
    'revoke a grant',
    async () => (await import('../cli/revoke.ts')).revoke,
  ).option('--all', 'all grants of the function at once');
  add(
    'token',
    'print an access token for curl and scripts, valid for 10 minutes, or set up a service account',
    async () => (await import('../cli/token.ts')).token,
  )
    .option('--allow <tokens>', 'the most that it may cost in total, 0.1 by default')
    .option('--function <function>', 'the only function that it may call')
    .option('--control', 'a token of the account for the control routes; it can spend nothing')
    .option(
      '--service <id>',
      'register a service account instead: a program with its own key that gets its own tokens',
    )
    .option('--daily <tokens>', 'the most that the service may spend per UTC day, 0.1 by default')
    .option('--days <count>', 'number of days, 30 by default; watch signs for each day')
    .option('--renew', 'renew: watch signs the same number of days again before they end')
    .option('--stop', 'stop the service: it can spend nothing more')
    .addHelpText('after', example('token --service ci --daily 0.5 --function hello'));
  add(
    'receipts',
    'list what was called, where it ran, and what it cost',
    async () => (await import('../cli/receipts.ts')).receipts,
  ).option('--limit <count>', 'show only this many, the newest');
  add(
    'settle',
    'settle everything in one transaction (operator)',
    async () => (await import('../cli/settle.ts')).settle,
  );
  add(
    'payouts',
    'show what gateways owe the account; --send pays it to the wallet',
    async () => (await import('../cli/payouts.ts')).payouts,
  )
    .option('--send', 'send what is credited to the wallet of the account')
    .option('--audit', 'also add up the receipts of all batches')
    .option(
      '--bar <gateway>',
      'bar all deployments of the account at that gateway; it cannot be undone',
    )
    .option(...DRY_RUN)
    .addHelpText('after', example('payouts --send --account publisher'));
  add(
    'earnings',
    'show what the account has earned, by function, version, day, payer or gateway',
    async () => (await import('../cli/earnings.ts')).earnings,
  )
    .option(
      '--by <groups>',
      'comma-separated: function, version, role, day, month, payer, gateway',
      'function,role',
    )
    .option('--since <day>', 'calls from this day on, UTC, such as 2026-12-01')
    .addHelpText('after', example('earnings --by month,function --account publisher'));
  add(
    'collect',
    'credit what a gateway has signed for and no batch has paid, from its float',
    async () => (await import('../cli/payouts.ts')).collect,
  )
    .option('--send', 'also send it to the wallet of the account')
    .option(...DRY_RUN)
    .addHelpText('after', example('collect --send --account publisher'));
}
