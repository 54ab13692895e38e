-- Locks the numbers $1 and loads what decides about their registration.
select id as "id!", registration as "registration!: _", registration_detail, policy as "policy!: _" from load_registrations($1)
