// What the routes of the Azure emulator share: its records, faults and running apps.
import type { ExecutionSums } from '../../emulators/executions.ts';
import type { Faults } from '../../emulators/faults.ts';
import type { LogFolder } from '../../emulators/log-folder.ts';
import type { App } from './app.ts';
import type { SiteRecord, Store } from './store.ts';

/** The emulator's parts, as its routes see them. */
export interface AzureParts {
  readonly store: Store;
  readonly faults: Faults;
  readonly subscriptionId: string;
  readonly resourceGroup: string;
  readonly longRunning: 'none' | 'location' | 'azure-asyncoperation';
  readonly log: (line: string) => void;
  /** Traces, by the name of their app. */
  readonly logs: LogFolder;
  /** MB-milliseconds of each app. */
  readonly sums: ExecutionSums;
  endpoint(): string;
  isToken(authorization: string | undefined): boolean;
  countWrite(): void;
  /** Opens the ports of a new app. */
  openSite(name: string): Promise<{ sitePort: number; scmPort: number }>;
  /** Ends the app's instances and closes its SCM site; its site answers 404 from now on. */
  closeSite(name: string): Promise<void>;
  /** The app with the code of its last publish, or of another one that is to be tried. */
  app(site: SiteRecord): Promise<App | undefined>;
  tryApp(site: SiteRecord, publish: string, zip: Uint8Array): App;
  dropApp(app: App): Promise<void>;
  /** Calls that come from now on run with this code (or, without it, with fresh settings); those under way end as they began. */
  replaceApp(site: string, app?: App): void;
}
