# shellcheck shell=bash disable=SC2154
# What the commands beside `make run` share (admin, backup): which home, whose it is, its database.
# Sourced; the caller has `die` and $checkout.

find_home() {
	local folder
	if [[ -n ${HOLDFAST_HOME-} ]]; then
		home=$(realpath -sm -- "$HOLDFAST_HOME")
	else
		for folder in "$checkout/var" /var/lib/holdfast; do
			home=$folder
			[[ ! -e $folder/secrets ]] || break
		done
	fi
	[[ -d $home/secrets ]] || die "there is no home folder $home: set HOLDFAST_HOME"
	export HOLDFAST_HOME=$home
}

# Words before a command that make it run as whose the home is; the hub never runs as root.
find_user() {
	local user
	as_owner=()
	[[ $EUID -eq 0 ]] || return 0
	user=$(stat -L -c %U -- "$home")
	[[ $user = root ]] ||
		as_owner=(setpriv "--reuid=$user" "--regid=$(id -g "$user")" --init-groups --no-new-privs)
}

find_program() {
	program=${HF_BIN-}
	[[ -n $program ]] || program=$checkout/build/holdfast
	"${as_owner[@]}" test -x "$program" 2>/dev/null || program=/usr/local/lib/holdfast/holdfast
	[[ -x $program ]] || die "the program holdfast is not built: run make"
}

percent_encode() {
	local path=$1 encoded='' c i
	for ((i = 0; i < ${#path}; i++)); do
		c=${path:i:1}
		case $c in
		[a-zA-Z0-9._~-]) encoded+=$c ;;
		*) encoded+=$(printf '%s' "$c" | od -An -v -tx1 | tr -d '\n' | tr ' ' %) ;;
		esac
	done
	printf '%s' "$encoded"
}

# The private cluster's socket is where its own pid file says; else the settings have the URL.
find_database() {
	local settings socket
	settings=$("${as_owner[@]}" "$program" config) || exit
	if ! grep -q '^database\.url = .' <<<"$settings"; then
		socket=$("${as_owner[@]}" sed -n 5p -- "$home/postgres/postmaster.pid" 2>/dev/null) || true
		[[ -n $socket ]] || die "the private PostgreSQL of $home is not running: start it with make run"
		socket=$(percent_encode "$socket")
		export HOLDFAST_DATABASE_URL="postgresql://holdfast_hub@$socket:5432/holdfast"
		export HOLDFAST_DATABASE_OWNER_URL="postgresql://holdfast_owner@$socket:5432/holdfast"
	fi
}
