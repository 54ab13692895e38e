-- Records the opt-outs that the carrier told of ($1 new ids, $2 the deliveries that it refused for them).
select record_carrier_opt_out(refused.consent_id, refused.id) from unnest($1::uuid[], $2::uuid[]) as refused (consent_id, id)
