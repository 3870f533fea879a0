// The page with the API's routes, made of /openapi.json by Swagger UI. Nothing is asked of other servers.
window.SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#routes",
  deepLinking: true,
  displayRequestDuration: true,
  // The badge would send the description to a server elsewhere.
  validatorUrl: null,
  // A key typed in here is forgotten with the page.
  persistAuthorization: false,
});
