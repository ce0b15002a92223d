// PouchDB Server in memory. LOGIN=name:password: nobody else gets in. OPAQUE=1: positions are texts, as in CouchDB 2 and 3.
const express = require("express");
const PouchDB = require("pouchdb").plugin(require("pouchdb-adapter-memory"));

const app = express();
app.use((request, answer, next) => {
  const wanted = "Basic " + Buffer.from(process.env.LOGIN || "").toString("base64");
  if (process.env.LOGIN && request.headers.authorization !== wanted) {
    answer.status(401).json({ error: "unauthorized", reason: "Name or password is incorrect." });
  } else {
    next();
  }
});
app.use((request, answer, next) => {
  if (process.env.OPAQUE) {
    delete request.headers["accept-encoding"];
    if (request.query.since) request.query.since = request.query.since.replace(/-.*/, "");
    const opaque = (text) => text && text.toString().replace(/"((?:last_|update_)?seq)":(\d+)/g, '"$1":"$2-g1AAAACbeJzLY+/Wq"');
    const [write, end, head] = [answer.write.bind(answer), answer.end.bind(answer), answer.setHeader.bind(answer)];
    answer.setHeader = (name, ...more) => (name.toLowerCase() === "content-length" ? answer : head(name, ...more));
    answer.write = (part, ...more) => write(opaque(part), ...more);
    answer.end = (part, ...more) => (typeof part === "function" ? end(part) : end(opaque(part), ...more));
  }
  next();
});
const settings = { inMemoryConfig: true, logPath: "/dev/null", mode: "minimumForPouchDB" };
app.use(require("express-pouchdb")(PouchDB.defaults({ adapter: "memory" }), settings));
const server = app.listen(0, "127.0.0.1", () => console.log(server.address().port));
