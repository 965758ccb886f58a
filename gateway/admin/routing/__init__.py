"""How the routes of the admin API are declared, and what is done around each handler."""
