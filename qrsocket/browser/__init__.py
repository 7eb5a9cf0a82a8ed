"""The browser client, as it is served and as it is published on npm: JavaScript, nothing to import."""
