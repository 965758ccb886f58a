"""The admin API, `/api/v2`: HTTP to control and back, one thin file per noun."""
