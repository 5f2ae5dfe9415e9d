// What a server that judges needs with webpack; the page itself needs nothing.
export default process.env.IS_JUDGE ? { serverExternalPackages: ["grice"] } : {};
