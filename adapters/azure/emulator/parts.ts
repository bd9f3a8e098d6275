// What the routes of the Azure emulator share: its records, faults and running apps.

import type { ExecutionSums } from '../../emulators/executions.ts';
import type { Faults } from '../../emulators/faults.ts';
import type { LogFolder } from '../../runtime/log-folder.ts';
import type { App } from './app.ts';
import type { SiteRecord, Store } from './store.ts';

/** The parts of the emulator that its routes use. */
export interface AzureParts {
  readonly store: Store;
  readonly faults: Faults;
  readonly subscriptionId: string;
  readonly resourceGroup: string;
  readonly longRunning: 'none' | 'location' | 'azure-asyncoperation';
  readonly log: (line: string) => void;
  /** Traces of each app. */
  readonly logs: LogFolder;
  /** MB-milliseconds of each app. */
  readonly sums: ExecutionSums;
  endpoint(): string;
  isToken(authorization: string | undefined): boolean;
  countWrite(): void;
  /** Opens the ports of a new app. */
  openSite(name: string): Promise<{ sitePort: number; scmPort: number }>;
  /** Ends the app's instances and closes its SCM site. Its site then answers 404. */
  closeSite(name: string): Promise<void>;
  /** The app with the code of its active publish. Undefined before the first. */
  app(site: SiteRecord): Promise<App | undefined>;
  /** Opens an app with other code, to try it. */
  tryApp(site: SiteRecord, publish: string, zip: Uint8Array): App;
  dropApp(app: App): Promise<void>;
  /**
   * New calls run with this app. Without one, the next call opens the app with its new settings.
   * Running calls end on the former app.
   */
  replaceApp(site: string, app?: App): void;
}
