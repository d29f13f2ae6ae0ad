#include "server/doors.h"

#include "server/base/cleanup.h"

/* "mqttv3.1" is what older SDKs of the clouds ask for; they speak 3.1.1 then too. */
static const struct ws_route ws_routes[] = {
        {"/mqtt", {"mqtt", "mqttv3.1"}},
        {"/$iothub/websocket", {"mqtt"}},
};

/* On TLS both are served on every port: networks of devices often let one port out alone. */
static void accept_tls(struct conn *c, void *arg)
{
	struct doors *doors = arg;

	if (conn_protocol(c) == NET_PROTOCOL_MQTT)
		front_accept(c, &doors->mqtts);
	else
		http_accept(c, doors->http, &doors->ws);
}

struct opening {
	struct net *net;
	const struct config *c;
	struct net_listener_spec spec; /* but for the address */
};

static int open_all(const struct opening *o, const struct config_list *addresses,
        unsigned *ret_first_port, char error[static NET_ERROR_LEN])
{
	struct net_listener_spec spec = o->spec;

	spec.proxies = o->c->net_proxy_trusted.items;
	spec.n_proxies = o->c->net_proxy_trusted.n;
	for (unsigned i = 0; i < addresses->n; i++) {
		unsigned port = 0;
		int r;

		spec.address = addresses->items[i];
		spec.proxy = config_list_has(&o->c->net_proxy_protocol, spec.address);
		r = net_listen(o->net, &spec, &port, error);
		if (r < 0)
			return r;
		if (i == 0 && ret_first_port)
			*ret_first_port = port;
	}
	return 0;
}

static void fronts_make(struct doors *doors, const struct config *c)
{
	size_t max = (size_t)c->mqtt_max_packet_size;

	doors->mqtts = (struct front){.protocol = "mqtts", .max_packet_size = max};
	doors->wss = (struct front){.protocol = "wss", .max_packet_size = max};
	doors->mqtt = (struct front){
	        .protocol = "mqtt", .anonymous_allowed = c->mqtt_anonymous, .max_packet_size = max};
	doors->ws = (struct ws_server){.routes = ws_routes,
	        .n_routes = ARRAY_LEN(ws_routes),
	        .on_open = front_accept,
	        .arg = &doors->wss};
}

int doors_open(struct doors *doors, struct net *net, const struct config *c,
        char error[static NET_ERROR_LEN])
{
	struct opening o = {.net = net, .c = c};
	int r;

	fronts_make(doors, c);
	r = net_tls_load(
	        net, c->tls_certificate, c->tls_key, (unsigned)c->tls_ticket_rotation, error);
	if (r < 0)
		return r;
	o.spec = (struct net_listener_spec){.on_accept = front_accept, .arg = &doors->mqtt};
	r = open_all(&o, &c->mqtt_plain_listen, NULL, error);
	if (r < 0)
		return r;
	o.spec = (struct net_listener_spec){
	        .tls = true, .protocol = NET_PROTOCOL_MQTT, .on_accept = accept_tls, .arg = doors};
	r = open_all(&o, &c->mqtt_tls_listen, &doors->mqtts_port, error);
	if (r < 0)
		return r;
	o.spec.protocol = NET_PROTOCOL_HTTP;
	return open_all(&o, &c->https_listen, &doors->https_port, error);
}

void doors_serve(struct doors *doors, struct broker *broker, struct api *api)
{
	doors->mqtts.broker = doors->mqtt.broker = doors->wss.broker = broker;
	doors->http = api_http(api);
}
