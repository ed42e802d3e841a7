// Calls the service's TypeScript client: one line of JSON in, one line of JSON out.
"use strict";

const fs = require("node:fs");
const readline = require("node:readline");
const { SyncClient } = require("@sync.so/sdk");

// {"stream": path} is a file with a name, {"blob": path} one without.
async function media(given) {
    if (given === null || given === undefined) return undefined;
    return given.stream ? fs.createReadStream(given.stream) : new Blob([fs.readFileSync(given.blob)]);
}

async function called({ url, key, verb, given, options }) {
    if (verb === "fetch") {
        const answer = await fetch(url + given.path, { method: given.method, headers: { "x-api-key": key } });
        return { status: answer.status, body: await answer.json() };
    }
    const client = new SyncClient({ baseUrl: url, apiKey: key });
    const request = { maxRetries: 0, ...options };
    if (verb === "createWithFiles") {
        const files = [await media(given.video), await media(given.audio)];
        return client.generations.createWithFiles(...files, given.request, request);
    }
    if (verb === "models") return client.models.list(request);
    return client.generations[verb](given, request);
}

async function main() {
    for await (const line of readline.createInterface({ input: process.stdin })) {
        let answer;
        try {
            answer = { value: await called(JSON.parse(line)) };
        } catch (error) {
            answer = { error: error.constructor.name, status: error.statusCode, body: error.body, text: String(error) };
        }
        process.stdout.write(JSON.stringify(answer) + "\n");
    }
}

main();
