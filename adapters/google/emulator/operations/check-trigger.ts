// Checks the event trigger of a function as the cloud does. The function then has the signature of
// CloudEvents. There is no Eventarc here: whoever has an event posts it to the function's URL.

import { randomInt } from 'node:crypto';
import type { EventTrigger } from '../model/state.ts';
import { type Json, recordAt } from './operation.ts';
import { Refusal } from './refusal.ts';

const PUBSUB_TYPE = 'google.cloud.pubsub.topic.v1.messagePublished';
/** Filters without which Eventarc refuses a trigger, by the type of its events. */
const NEEDED_FILTERS: readonly [types: RegExp, attributes: readonly string[]][] = [
  [/^google\.cloud\.storage\./, ['bucket']],
  [/^google\.cloud\.audit\.log\.v1\.written$/, ['serviceName', 'methodName']],
  [/^google\.cloud\.firestore\./, ['database']],
];
const OPERATORS: readonly unknown[] = [undefined, '', 'match-path-pattern'];

/**
 * Fills in what the cloud does. `former` is the trigger before an update.
 * @returns undefined  the function has no trigger
 * @throws Refusal INVALID_ARGUMENT
 */
export function checkTrigger(
  resource: Json,
  former: EventTrigger | undefined,
): EventTrigger | undefined {
  if (resource.eventTrigger === undefined || resource.eventTrigger === null) return undefined;
  const given = recordAt(resource, 'eventTrigger');
  const { eventType, pubsubTopic } = given;
  if (typeof eventType !== 'string' || eventType === '') {
    return refuse('event_trigger.event_type is required');
  }
  checkFilters(eventType, given.eventFilters);

  const [, project = '', , location = '', , name = ''] = String(resource.name).split('/');
  const triggerRegion = String(given.triggerRegion || location);
  const id = `${name}-${randomInt(100_000, 1_000_000)}`;
  const topic = topicOf(eventType, pubsubTopic, project, `eventarc-${triggerRegion}-${id}`);
  return {
    ...given,
    trigger: former?.trigger ?? `projects/${project}/locations/${triggerRegion}/triggers/${id}`,
    triggerRegion,
    eventType,
    ...(topic !== undefined && { pubsubTopic: topic }),
  };
}

function topicOf(
  eventType: string,
  given: unknown,
  project: string,
  created: string,
): string | undefined {
  if (eventType === PUBSUB_TYPE && !given) return `projects/${project}/topics/${created}`;
  if (!given) return undefined;
  if (eventType !== PUBSUB_TYPE) return refuse(`pubsub_topic is for events of type ${PUBSUB_TYPE}`);
  const isOurs = String(given).startsWith(`projects/${project}/topics/`);
  return isOurs ? String(given) : refuse(`pubsub_topic must be projects/${project}/topics/TOPIC`);
}

function checkFilters(eventType: string, filters: unknown): void {
  if (filters !== undefined && !Array.isArray(filters)) refuse('event_filters must be a list');
  const attributes = new Set<unknown>();
  for (const filter of (filters ?? []) as readonly Json[]) {
    const { attribute, value, operator } = filter;
    if (!attribute || !value) refuse('event_filters need an attribute and a value');
    if (!OPERATORS.includes(operator)) refuse(`Invalid operator ${String(operator)}`);
    if (attributes.has(attribute)) refuse(`Duplicate event filter ${String(attribute)}`);
    attributes.add(attribute);
  }
  if (attributes.has('type')) refuse('the filter type is event_trigger.event_type');
  const needed = NEEDED_FILTERS.find(([types]) => types.test(eventType))?.[1] ?? [];
  const missing = needed.find((attribute) => !attributes.has(attribute));
  if (missing) refuse(`event_filters of ${eventType} need the attribute ${missing}`);
}

function refuse(message: string): never {
  throw new Refusal('INVALID_ARGUMENT', message);
}
