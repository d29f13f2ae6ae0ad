#include "server/net/ws.h"

#include <assert.h>
#include <stdlib.h>
#include <wslay/wslay.h>

#include "server/base/err.h"
#include "server/base/http_header.h"
#include "server/base/log.h"
#include "server/base/utf8.h"

#define FREE_READERS_MAX 16

/*
 * wslay's state of a frame has a buffer of 4 KiB. A connection needs it only in the middle of a
 * frame: between frames it goes back to the loop, so an idle connection keeps none.
 */
struct ws_reader {
	struct ws_reader *next;
	wslay_frame_context_ptr frames;
	struct slice in; /* what wslay has not taken yet */
	uint64_t taken;  /* bytes given to wslay … */
	uint64_t done;   /* … and those of them that were frames */
	uint64_t seen;   /* payload of the frame that is being read */
};

struct ws_control {
	uint8_t n;
	uint8_t data[WS_CONTROL_MAX];
};

struct ws {
	struct ws_reader *reader;
	struct ws_control *in;        /* the control frame that is being read */
	struct ws_control *ping;      /* the last one that is not answered */
	uint32_t raw;                 /* ws_raw */
	uint32_t message;             /* payload of the message so far */
	uint16_t fragments;           /* its frames so far; 0: between messages */
	uint16_t code;                /* of our close frame; 0: none */
	bool peer_closed;             /* its close frame has come */
	bool say_close;               /* our close frame is due */
	bool said_close;              /* it is due or out: there is only one */
	struct http_opening *opening; /* until somebody takes it */
};

/* ---- readers ---- */

static ssize_t give(uint8_t *p, size_t cap, int flags HF_UNUSED, void *arg)
{
	struct ws_reader *rd = arg;
	size_t n = cap < rd->in.n ? cap : rd->in.n;
	if (n == 0)
		return -1;
	memcpy(p, rd->in.p, n);
	rd->in = slice_from(rd->in, n);
	rd->taken += n;
	return (ssize_t)n;
}

static void reader_free(struct ws_reader *rd)
{
	if (!rd)
		return;
	wslay_frame_context_free(rd->frames);
	free(rd);
}

static struct ws_reader *reader_new(struct net_loop *nl)
{
	static const struct wslay_frame_callbacks callbacks = {.recv_callback = give};
	struct ws_reader *rd = nl->free_readers;
	if (rd) {
		nl->free_readers = rd->next;
		nl->n_free_readers--;
		return rd;
	}
	rd = calloc(1, sizeof(*rd));
	if (rd && wslay_frame_context_init(&rd->frames, &callbacks, rd) == 0)
		return rd;
	free(rd);
	return NULL;
}

/* Between two frames the library holds nothing of the connection's. */
static void reader_give_back(struct net_loop *nl, struct ws *ws)
{
	struct ws_reader *rd = ws->reader;
	if (rd->taken != rd->done)
		return;
	ws->reader = NULL;
	if (nl->n_free_readers == FREE_READERS_MAX) {
		reader_free(rd);
		return;
	}
	rd->next = nl->free_readers;
	nl->free_readers = rd;
	nl->n_free_readers++;
}

void ws_loop_free(struct net_loop *nl)
{
	while (nl->free_readers) {
		struct ws_reader *rd = nl->free_readers;
		nl->free_readers = rd->next;
		reader_free(rd);
	}
	nl->n_free_readers = 0;
}

/* ---- what the peer may not do ---- */

static void violation(struct conn *c, unsigned code, const char *what)
{
	char peer[CONN_PEER_LEN];
	conn_peer(c, peer);
	log_info("WebSocket error", F_U64("conn", c->id), F_STR("peer", peer), F_STR("error", what),
	        F_U64("code", code));
	c->ws->code = (uint16_t)code;
	conn_close(c, code == WSLAY_CODE_MESSAGE_TOO_BIG ? END_TOO_LARGE : END_WEBSOCKET);
}

/* A frame that opens or continues a message (RFC 6455 section 5.4). */
static bool data_begin(struct conn *c, const struct wslay_frame_iocb *f)
{
	struct ws *ws = c->ws;
	bool goes_on = f->opcode == WSLAY_CONTINUATION_FRAME;
	if (goes_on != (ws->fragments > 0))
		violation(c, WSLAY_CODE_PROTOCOL_ERROR,
		        goes_on ? "nothing to continue" : "the last message has not ended");
	else if (f->opcode == WSLAY_TEXT_FRAME) /* MQTT-6.0.0-1 */
		violation(c, WSLAY_CODE_UNSUPPORTED_DATA, "a text frame");
	else if (f->payload_length > c->in_cap || ws->message + f->payload_length > c->in_cap)
		violation(c, WSLAY_CODE_MESSAGE_TOO_BIG, "the message is too large");
	else if (ws->fragments == WS_FRAGMENTS_MAX)
		violation(c, WSLAY_CODE_MESSAGE_TOO_BIG, "the message has too many fragments");
	else
		ws->fragments++;
	return c->state < CONN_FLUSHING;
}

static bool control_begin(struct conn *c)
{
	c->ws->in = calloc(1, sizeof(*c->ws->in));
	if (!c->ws->in)
		conn_abort(c, END_INTERNAL);
	return c->ws->in != NULL;
}

static bool frame_begin(struct conn *c, const struct wslay_frame_iocb *f)
{
	const char *what = NULL;
	if (!f->mask) /* RFC 6455 section 5.1 */
		what = "a frame without a mask";
	else if (f->rsv)
		what = "reserved bits are set";
	else if (f->opcode > WSLAY_PONG ||
	        (f->opcode > WSLAY_BINARY_FRAME && f->opcode < WSLAY_CONNECTION_CLOSE))
		what = "a reserved opcode";
	if (what) {
		violation(c, WSLAY_CODE_PROTOCOL_ERROR, what);
		return false;
	}
	return wslay_is_ctrl_frame(f->opcode) ? control_begin(c) : data_begin(c, f);
}

/* Codes that may be on the wire (RFC 6455 section 7.4, and the registry that it makes). */
static bool close_code_valid(unsigned code)
{
	if (code >= 3000)
		return code <= 4999;
	return code >= 1000 && code <= 1014 && code != 1004 && code != WSLAY_CODE_NO_STATUS_RCVD &&
	        code != WSLAY_CODE_ABNORMAL_CLOSURE;
}

/* The peer closes: it gets its code back (RFC 6455 section 5.5.1). */
static void on_close(struct conn *c, const struct ws_control *f)
{
	unsigned code = f->n >= 2 ? (unsigned)f->data[0] << 8 | f->data[1] : 0;
	if (f->n == 1 || (f->n >= 2 && !close_code_valid(code))) {
		violation(c, WSLAY_CODE_PROTOCOL_ERROR, "an invalid close frame");
		return;
	}
	if (f->n > 2 && !utf8_valid(slice_make(f->data + 2, f->n - 2U))) {
		violation(c, WSLAY_CODE_INVALID_FRAME_PAYLOAD_DATA, "an invalid reason to close");
		return;
	}
	c->ws->code = (uint16_t)code;
	c->ws->peer_closed = true;
	conn_gone(c, END_PEER_CLOSED);
}

static void control_end(struct conn *c, const struct wslay_frame_iocb *f)
{
	struct ws *ws = c->ws;
	struct ws_control *control = ws->in;
	ws->in = NULL;
	if (f->opcode == WSLAY_PING) {
		/* Only the last one has to be answered (RFC 6455 section 5.5.3). */
		struct ws_control *before = ws->ping;
		ws->ping = control;
		control = before;
		conn_queue(c);
	} else if (f->opcode == WSLAY_CONNECTION_CLOSE) {
		on_close(c, control);
	}
	free(control);
}

static void frame_end(struct conn *c, const struct wslay_frame_iocb *f)
{
	struct ws *ws = c->ws;
	uint64_t n = f->payload_length;
	unsigned head = 2 + 4 + (n > UINT16_MAX ? 8 : n > 125 ? 2 : 0);
	ws->reader->seen = 0;
	ws->reader->done += head + n;
	if (ws->in) {
		control_end(c, f);
	} else if (f->fin) {
		ws->fragments = 0;
		ws->message = 0;
	}
}

/* A part of a frame's payload, or an empty frame. Returns how many bytes of it went to out. */
static size_t frame_part(struct conn *c, const struct wslay_frame_iocb *f, uint8_t *out)
{
	struct ws *ws = c->ws;
	if (ws->reader->seen == 0 && !frame_begin(c, f))
		return 0;
	ws->reader->seen += f->data_length;
	size_t n = 0;
	if (ws->in) {
		memcpy(ws->in->data + ws->in->n, f->data, f->data_length);
		ws->in->n = (uint8_t)(ws->in->n + f->data_length);
	} else {
		n = f->data_length;
		memcpy(out, f->data, n);
		ws->message += (uint32_t)n;
	}
	if (ws->reader->seen == f->payload_length)
		frame_end(c, f);
	return n;
}

size_t ws_decode(struct conn *c, uint8_t *p, size_t n)
{
	struct ws *ws = c->ws;
	struct wslay_frame_iocb f;
	size_t total = 0;
	if (n == 0)
		return 0;
	if (!ws->reader && !(ws->reader = reader_new(c->nl))) {
		conn_abort(c, END_INTERNAL);
		return 0;
	}
	/* wslay takes more than it gives: what is written never reaches what is to be read. */
	ws->reader->in = slice_make(p, n);
	ssize_t r = 0;
	while (c->state < CONN_FLUSHING && !c->gone) {
		r = wslay_frame_recv(ws->reader->frames, &f);
		if (r < 0)
			break;
		total += frame_part(c, &f, p + total);
	}
	if (r < 0 && r != WSLAY_ERR_WANT_READ)
		violation(c, WSLAY_CODE_PROTOCOL_ERROR, "a malformed frame");
	else if (c->state < CONN_FLUSHING && !c->gone)
		reader_give_back(c->nl, ws);
	return total;
}

/* ---- what is sent ---- */

size_t ws_head(uint8_t *p, size_t n)
{
	assert(n <= NET_RECORD_SIZE);
	p[0] = 0x80 | WSLAY_BINARY_FRAME;
	if (n <= 125) {
		p[1] = (uint8_t)n;
		return 2;
	}
	p[1] = 126;
	p[2] = (uint8_t)(n >> 8);
	p[3] = (uint8_t)n;
	return 4;
}

bool ws_due(const struct ws *ws)
{
	return ws->ping || ws->say_close;
}

static size_t take_pong(struct ws *ws, uint8_t *p)
{
	struct ws_control *ping = ws->ping;
	if (!ping)
		return 0;
	size_t n = ping->n;
	p[0] = 0x80 | WSLAY_PONG;
	p[1] = ping->n;
	memcpy(p + 2, ping->data, n);
	free(ping);
	ws->ping = NULL;
	return 2 + n;
}

static size_t take_close(struct ws *ws, uint8_t *p)
{
	if (!ws->say_close)
		return 0;
	ws->say_close = false;
	p[0] = 0x80 | WSLAY_CONNECTION_CLOSE;
	p[1] = ws->code ? 2 : 0;
	p[2] = (uint8_t)(ws->code >> 8);
	p[3] = (uint8_t)ws->code;
	return 2U + p[1];
}

size_t ws_take_controls(struct ws *ws, uint8_t *p)
{
	size_t n = take_pong(ws, p);
	return n + take_close(ws, p + n);
}

size_t ws_raw(const struct ws *ws)
{
	return ws->raw;
}

void ws_raw_sent(struct ws *ws, size_t n)
{
	ws->raw -= (uint32_t)n;
}

static unsigned code_of(enum end_reason why)
{
	switch (why) {
	case END_SHUTDOWN: return WSLAY_CODE_GOING_AWAY;
	case END_TOO_LARGE: return WSLAY_CODE_MESSAGE_TOO_BIG;
	case END_INTERNAL: return WSLAY_CODE_INTERNAL_SERVER_ERROR;
	default: return end_is_error(why) ? WSLAY_CODE_POLICY_VIOLATION : WSLAY_CODE_NORMAL_CLOSURE;
	}
}

bool ws_goodbye(struct conn *c)
{
	struct ws *ws = c->ws;
	if (ws->said_close)
		return false;
	if (!ws->code && !ws->peer_closed)
		ws->code = (uint16_t)code_of(c->why);
	ws->said_close = ws->say_close = true;
	return true;
}

/* ---- begin and end ---- */

int ws_begin(struct conn *c, struct http_opening *opening)
{
	assert(!c->ws && c->out_bytes < UINT32_MAX);
	c->ws = calloc(1, sizeof(*c->ws));
	if (!c->ws)
		return ERR_NOMEM;
	c->ws->raw = (uint32_t)c->out_bytes;
	c->ws->opening = opening;
	return 0;
}

struct http_opening *conn_take_opening(struct conn *c)
{
	return c->ws ? TAKE_PTR(c->ws->opening) : NULL;
}

void ws_free(struct conn *c)
{
	if (!c->ws)
		return;
	reader_free(c->ws->reader);
	free(c->ws->in);
	free(c->ws->ping);
	http_opening_free(c->ws->opening);
	free(c->ws);
	c->ws = NULL;
}
