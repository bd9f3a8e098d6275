// The methods of each of the gateway's own addresses, for `Allow` (RFC 9110 section 10.2.1). The
// router answers only whether it has one method at one address.

export interface RouteMethods {
  /** @param url as in the router: `/lanes/:payer/:signer` */
  add(url: string, methods: readonly string[]): void;
  /** Sorted, with OPTIONS; empty if no route has this path. */
  of(path: string): readonly string[];
}

export function createRouteMethods(): RouteMethods {
  const routes = new Map<string, { readonly path: RegExp; readonly methods: Set<string> }>();
  return {
    add: (url, methods) => {
      const path = new RegExp(
        `^${url
          .replaceAll(/:[^/]+/g, '[^/]+')
          .replaceAll('.', '\\.')
          .replaceAll('*', '.*')}$`,
      );
      const route = routes.get(url) ?? { path, methods: new Set() };
      for (const method of methods) route.methods.add(method);
      routes.set(url, route);
    },
    of: (path) => {
      const all = new Set<string>();
      for (const route of routes.values()) {
        if (route.path.test(path)) for (const method of route.methods) all.add(method);
      }
      return all.size === 0 ? [] : [...all.add('OPTIONS')].sort();
    },
  };
}
