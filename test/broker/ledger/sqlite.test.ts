// The embedded ledger against the conformance suite.
import { join } from 'node:path';
import { openSqliteLedger } from '../../../broker/ledger/sqlite.ts';
import { testLedger } from './conformance.ts';

testLedger('sqlite', (dir) => openSqliteLedger(join(dir, 'ledger.sqlite')));
