// An application that knows nothing of Key0: it believes the headers of the proxy in front of it.
import { createServer } from "node:http";

const server = createServer((request, response) => {
  let body = "";
  request.on("data", (chunk) => (body += chunk));
  request.on("end", () => {
    response.setHeader("Content-Type", "application/json");
    const { method, url, headers } = request;
    response.end(JSON.stringify({ method, url, headers, body }));
  });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
