// Handlers that use well-known npm packages as their documentation shows, and what each answers.
// Where `refused` stands, the package cannot run on every cloud.

export interface Peer {
  readonly name: string;
  /** An ES module; the value of `answer` is what the handler returns. */
  readonly source: string;
  readonly answer?: unknown;
  /** The line of the refusal names this. */
  readonly refused?: string;
}

export const PEERS: readonly Peer[] = [
  {
    name: 'express',
    source: `import express from 'express';
      const app = express();
      app.get('/hello/:name', (request, response) => response.json({ hello: request.params.name }));
      const answer = [typeof app.handle, app.get('x-powered-by')];`,
    answer: ['function', true],
  },
  {
    name: 'hono',
    source: `import { Hono } from 'hono';
      const app = new Hono().get('/:name', (c) => c.text('hi ' + c.req.param('name')));
      const answer = await (await app.fetch(new Request('https://x.example/ann'))).text();`,
    answer: 'hi ann',
  },
  {
    name: 'zod',
    source: `import { z } from 'zod';
      const answer = z.object({ n: z.coerce.number() }).parse({ n: '4' });`,
    answer: { n: 4 },
  },
  {
    name: 'ajv',
    source: `import { Ajv } from 'ajv';
      const validate = new Ajv().compile({ type: 'integer', minimum: 3 });
      const answer = [validate(3), validate(2)];`,
    answer: [true, false],
  },
  {
    name: 'lodash',
    source: `import _ from 'lodash';
      import chunk from 'lodash/chunk.js';
      const answer = [_.kebabCase('fooBar'), chunk([1, 2, 3], 2)];`,
    answer: ['foo-bar', [[1, 2], [3]]],
  },
  {
    name: 'dayjs',
    source: `import dayjs from 'dayjs';
      import utc from 'dayjs/plugin/utc.js';
      dayjs.extend(utc);
      const answer = dayjs.utc('2026-01-31').add(1, 'month').format('YYYY-MM-DD');`,
    answer: '2026-02-28',
  },
  {
    name: 'luxon',
    source: `import { DateTime } from 'luxon';
      const answer = DateTime.fromISO('2026-03-01T00:00', { zone: 'utc' }).minus({ days: 1 }).toISODate();`,
    answer: '2026-02-28',
  },
  {
    name: 'uuid',
    source: `import { v5 } from 'uuid';
      const answer = v5('defaas', v5.URL);`,
    answer: 'c530e996-a278-503b-9207-903a5a1e695b',
  },
  {
    name: 'nanoid',
    source: `import { nanoid } from 'nanoid';
      const answer = nanoid().length;`,
    answer: 21,
  },
  {
    name: 'jose',
    source: `import { SignJWT, jwtVerify } from 'jose';
      const key = new TextEncoder().encode('0123456789abcdef0123456789abcdef');
      const token = await new SignJWT({ a: 1 }).setProtectedHeader({ alg: 'HS256' }).sign(key);
      const answer = (await jwtVerify(token, key)).payload;`,
    answer: { a: 1 },
  },
  {
    name: 'jsonwebtoken',
    source: `import jwt from 'jsonwebtoken';
      const answer = jwt.verify(jwt.sign({ a: 1 }, 'k', { noTimestamp: true }), 'k');`,
    answer: { a: 1 },
  },
  {
    name: 'axios',
    source: `import axios from 'axios';
      const adapter = async (config) => ({ data: config.url, status: 200, headers: {}, config });
      const answer = (await axios.create({ adapter }).get('/x')).data;`,
    answer: '/x',
  },
  {
    name: 'undici',
    source: `import { MockAgent, request } from 'undici';
      const agent = new MockAgent();
      agent.get('https://x.example').intercept({ path: '/' }).reply(200, 'ok');
      const answer = await (await request('https://x.example/', { dispatcher: agent })).body.text();`,
    answer: 'ok',
  },
  {
    name: 'node-fetch',
    source: `import fetch from 'node-fetch';
      const answer = await (await fetch('data:text/plain,ok')).text();`,
    answer: 'ok',
  },
  {
    name: 'got',
    source: `import got from 'got';
      const answer = got.extend({ prefixUrl: 'https://x.example', retry: { limit: 1 } }).defaults.options.retry.limit;`,
    answer: 1,
  },
  {
    name: 'pg',
    source: `import pg from 'pg';
      const client = new pg.Client('postgres://ann@db.example:5433/shop');
      const answer = [client.host, client.port, client.database, pg.escapeIdentifier('a"b')];`,
    answer: ['db.example', 5433, 'shop', '"a""b"'],
  },
  {
    name: 'knex',
    source: `import knex from 'knex';
      const db = knex({ client: 'pg' });
      const answer = db('users').where({ id: 1 }).toString();`,
    answer: 'select * from "users" where "id" = 1',
  },
  {
    name: 'mysql2',
    source: `import mysql from 'mysql2/promise';
      const answer = mysql.format('select ?', ["it's"]);`,
    answer: "select 'it\\'s'",
  },
  {
    name: 'mongodb',
    source: `import { MongoClient, ObjectId } from 'mongodb';
      const client = new MongoClient('mongodb://db.example:27018/shop');
      const answer = [client.options.hosts[0].port, new ObjectId('65f0000000000000000000aa').toHexString()];`,
    answer: [27018, '65f0000000000000000000aa'],
  },
  {
    name: 'ioredis',
    source: `import { Redis } from 'ioredis';
      const answer = new Redis('redis://db.example:6380/2', { lazyConnect: true }).options.db;`,
    answer: 2,
  },
  {
    name: 'redis',
    source: `import { createClient } from 'redis';
      const answer = createClient({ url: 'redis://db.example:6380/2' }).options.database;`,
    answer: 2,
  },
  {
    name: 'msgpackr',
    source: `import { pack, unpack } from 'msgpackr';
      const answer = unpack(pack({ a: [1, 'x'] }));`,
    answer: { a: [1, 'x'] },
  },
  {
    name: 'cbor-x',
    source: `import { decode, encode } from 'cbor-x';
      const answer = decode(encode({ a: [1, 'x'] }));`,
    answer: { a: [1, 'x'] },
  },
  {
    name: 'protobufjs',
    source: `import protobuf from 'protobufjs';
      const { root } = protobuf.parse('syntax = "proto3"; message A { string b = 1; }');
      const A = root.lookupType('A');
      const answer = [A.decode(A.encode({ b: 'x' }).finish()).b, typeof protobuf.util.fs?.readFile];`,
    answer: ['x', 'function'],
  },
  {
    name: 'pdfkit',
    source: `import PDFDocument from 'pdfkit';
      const parts = [];
      const document = new PDFDocument();
      document.on('data', (part) => parts.push(part));
      const done = new Promise((resolve) => document.on('end', resolve));
      document.font('Times-Roman').text('hello');
      document.end();
      await done;
      const answer = Buffer.concat(parts).toString('latin1', 0, 5);`,
    answer: '%PDF-',
  },
  {
    name: 'jsdom',
    source: `import { JSDOM } from 'jsdom';
      const { document } = new JSDOM('<style>p { color: red }</style><p>hi</p>').window;
      const answer = document.querySelector('p').textContent;`,
    answer: 'hi',
  },
  {
    name: 'cheerio',
    source: `import { load } from 'cheerio';
      const answer = load('<ul><li>a</li><li>b</li></ul>')('li').last().text();`,
    answer: 'b',
  },
  {
    name: 'sql.js',
    source: `import initSqlJs from 'sql.js';
      const SQL = await initSqlJs();
      const answer = new SQL.Database().exec('select 1 + 1 as two')[0].values;`,
    answer: [[2]],
  },
  {
    name: 'sequelize',
    source: `import { DataTypes, Sequelize } from 'sequelize';
      const db = new Sequelize('postgres://ann@db.example/shop', { logging: false });
      const User = db.define('user', { name: DataTypes.STRING });
      const answer = [User.tableName, db.getDialect()];`,
    answer: ['users', 'postgres'],
  },
  {
    name: 'typeorm',
    source: `import { DataSource, EntitySchema } from 'typeorm';
      const User = new EntitySchema({ name: 'user', columns: { id: { type: Number, primary: true } } });
      const answer = new DataSource({ type: 'postgres', url: 'postgres://db.example', entities: [User] }).options.type;`,
    answer: 'postgres',
  },
  {
    name: 'typeorm and sql.js',
    source: `import { DataSource, EntitySchema } from 'typeorm';
      const User = new EntitySchema({ name: 'user', columns: { id: { type: Number, primary: true } } });
      const source = await new DataSource({ type: 'sqljs', synchronize: true, entities: [User] }).initialize();
      await source.getRepository(User).save({ id: 7 });
      const answer = await source.getRepository(User).find();`,
    answer: [{ id: 7 }],
  },
  {
    name: 'drizzle-orm',
    source: `import { drizzle } from 'drizzle-orm/node-postgres';
      import { pgTable, serial } from 'drizzle-orm/pg-core';
      import pg from 'pg';
      const users = pgTable('users', { id: serial('id') });
      const answer = drizzle(new pg.Pool({ max: 1 })).select().from(users).toSQL().sql;`,
    answer: 'select "id" from "users"',
  },
  {
    name: 'handlebars',
    source: `import Handlebars from 'handlebars';
      const answer = Handlebars.compile('Hi {{name}}')({ name: '<Ann>' });`,
    answer: 'Hi &lt;Ann&gt;',
  },
  {
    name: 'ejs',
    source: `import ejs from 'ejs';
      const answer = ejs.render('Hi <%= name %>', { name: '<Ann>' });`,
    answer: 'Hi &lt;Ann&gt;',
  },
  {
    name: 'mustache',
    source: `import Mustache from 'mustache';
      const answer = Mustache.render('Hi {{name}}', { name: '<Ann>' });`,
    answer: 'Hi &lt;Ann&gt;',
  },
  {
    name: 'marked',
    source: `import { marked } from 'marked';
      const answer = marked.parse('# hi');`,
    answer: '<h1>hi</h1>\n',
  },
  {
    name: 'markdown-it',
    source: `import MarkdownIt from 'markdown-it';
      const answer = new MarkdownIt().render('# hi');`,
    answer: '<h1>hi</h1>\n',
  },
  {
    name: 'csv-parse',
    source: `import { parse } from 'csv-parse/sync';
      const answer = parse('a,b\\n1,"2,3"', { columns: true });`,
    answer: [{ a: '1', b: '2,3' }],
  },
  {
    name: 'xlsx',
    source: `import XLSX from 'xlsx';
      const book = XLSX.utils.book_new();
      XLSX.utils.book_append_sheet(book, XLSX.utils.json_to_sheet([{ a: 1 }]), 's');
      const again = XLSX.read(XLSX.write(book, { type: 'buffer' }));
      const answer = XLSX.utils.sheet_to_json(again.Sheets.s);`,
    answer: [{ a: 1 }],
  },
  {
    name: 'fast-xml-parser',
    source: `import { XMLParser } from 'fast-xml-parser';
      const answer = new XMLParser().parse('<a><b>1</b></a>');`,
    answer: { a: { b: 1 } },
  },
  {
    name: 'ethers',
    source: `import { id, parseUnits } from 'ethers';
      const answer = [id('x').length, parseUnits('1', 3).toString()];`,
    answer: [66, '1000'],
  },
  {
    name: '@aws-sdk/client-s3',
    source: `import { GetObjectCommand, S3Client } from '@aws-sdk/client-s3';
      const credentials = { accessKeyId: 'a', secretAccessKey: 'b' };
      const requestHandler = { handle: async (request) => {
        throw new Error(request.hostname + request.path);
      } };
      const client = new S3Client({ region: 'us-east-1', credentials, requestHandler, maxAttempts: 1 });
      const answer = await client.send(new GetObjectCommand({ Bucket: 'b', Key: 'k' })).catch(({ message }) => message);`,
    answer: 's3.us-east-1.amazonaws.com/b/k',
  },
  {
    name: 'graphql',
    source: `import { buildSchema, graphql } from 'graphql';
      const schema = buildSchema('type Query { hi: String }');
      const answer = (await graphql({ schema, source: '{ hi }', rootValue: { hi: 'ho' } })).data.hi;`,
    answer: 'ho',
  },
  {
    name: 'graphql-yoga',
    source: `import { createSchema, createYoga } from 'graphql-yoga';
      const schema = createSchema({ typeDefs: 'type Query { hi: String }', resolvers: { Query: { hi: () => 'ho' } } });
      const yoga = createYoga({ schema, logging: false });
      const answer = await (await yoga.fetch('https://x.example/graphql?query={hi}')).json();`,
    answer: { data: { hi: 'ho' } },
  },
  {
    name: 'winston',
    source: `import { Writable } from 'node:stream';
      import winston from 'winston';
      let text = '';
      const stream = new Writable({ write: (part, _, next) => { text += part; next(); } });
      winston.createLogger({ transports: [new winston.transports.Stream({ stream })] }).info('hi');
      const answer = text;`,
    answer: '{"level":"info","message":"hi"}\n',
  },
  {
    name: 'pino',
    source: `import pino from 'pino';
      let text = '';
      pino({ base: null, timestamp: false }, { write: (line) => { text += line; } }).info('hi');
      const answer = text;`,
    answer: '{"level":30,"msg":"hi"}\n',
  },
  {
    name: 'bcryptjs',
    source: `import bcrypt from 'bcryptjs';
      const answer = bcrypt.compareSync('x', bcrypt.hashSync('x', 4));`,
    answer: true,
  },
  {
    name: 'nodemailer',
    source: `import nodemailer from 'nodemailer';
      const mail = nodemailer.createTransport({ streamTransport: true, buffer: true });
      const { envelope } = await mail.sendMail({ from: 'a@x.example', to: 'b@x.example', text: 'hi' });
      const answer = envelope;`,
    answer: { from: 'a@x.example', to: ['b@x.example'] },
  },
  {
    name: 'stripe',
    source: `import Stripe from 'stripe';
      const stripe = new Stripe('key of a test');
      const header = stripe.webhooks.generateTestHeaderString({ payload: '{"id":"evt"}', secret: 's' });
      const answer = stripe.webhooks.constructEvent('{"id":"evt"}', header, 's').id;`,
    answer: 'evt',
  },
  {
    name: 'ws',
    source: `import { WebSocket } from 'ws';
      const answer = WebSocket.OPEN;`,
    answer: 1,
  },
  { name: 'sharp', source: `import sharp from 'sharp'; const answer = sharp;`, refused: 'sharp' },
  { name: 'bcrypt', source: `import b from 'bcrypt'; const answer = b;`, refused: 'bcrypt' },
  { name: 'argon2', source: `import a from 'argon2'; const answer = a;`, refused: 'argon2' },
  { name: 'canvas', source: `import c from 'canvas'; const answer = c;`, refused: 'canvas' },
  {
    name: 'better-sqlite3',
    source: `import Database from 'better-sqlite3'; const answer = Database;`,
    refused: 'better-sqlite3',
  },
];
