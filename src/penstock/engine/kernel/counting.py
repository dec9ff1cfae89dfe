# SPDX-License-Identifier: Apache-2.0
"""What the datapath's maps have counted of services, pools and real servers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from penstock.engine.api import Counters, RealKey, ReasonCount, Traffic, Verdict
from penstock.engine.figures import Figure, Readings, Table
from penstock.engine.kernel.loader import Datapath
from penstock.engine.kernel.numbered import PoolTable, Real
from penstock.engine.kernel.outcomes import Column, Outcomes
from penstock.engine.kernel.pool_figures import PoolFigures
from penstock.kernel.btf import Layout
from penstock.kernel.maps import ArrayMap, PerCpuArray

# A connection that begins is one that a scheduler has chosen for.
_BEGUN = frozenset({Figure.TOTAL, Figure.SESSIONS, Figure.CHOSEN, Figure.CONNECTED})


class Counting:
    """One per engine, whose services, real servers and pools it looks up in the engine's own."""

    def __init__(
        self,
        datapath: Datapath,
        services: Mapping[str, int],
        reals: Mapping[RealKey, Real],
        pools: Mapping[str, PoolTable],
    ) -> None:
        self._datapath = datapath
        self._maps = datapath.maps
        self._codec = datapath.codec
        self._services = services
        self._reals = reals
        self._pools = pools
        self._pool_figures = PoolFigures()
        self._outcomes = Outcomes(datapath)
        # Who has which number of services and reals; None: somebody has come or gone.
        self._places: tuple[dict[str, int], dict[RealKey, int]] | None = None

    # -- whose numbers -----------------------------------------------------------------

    def changed(self) -> None:
        """Somebody has come or gone."""
        self._places = None

    def begin_real(self, number: int) -> None:
        """Another one has that number now; so the next two."""
        self._maps.real_lives.write(number, bytes(self._codec.real_live.size))
        self._maps.real_traffic.clear(number)
        self._outcomes.begin_real(number)

    def begin_service(self, number: int) -> None:
        self._maps.service_lives.write(number, bytes(self._codec.service_live.size))
        self._maps.service_traffic.clear(number)
        self._outcomes.begin_service(number)

    def begin_pool(self, number: int) -> None:
        self._outcomes.begin_pool(number)

    def forget_real(self, pool: str, number: int) -> None:
        """A real server of *pool* goes, and what it has counted stays the pool's."""
        self._pool_figures.forgotten(pool, self._last_figures(number))
        self.changed()

    # -- all of it ---------------------------------------------------------------------

    def counters(self) -> Counters:
        services = self._traffic(
            self._maps.service_traffic,
            self._maps.service_lives,
            self._codec.service_live,
            self._services.values(),
        )
        in_service = {key: real.id for key, real in self._reals.items() if not real.retired}
        reals = self._traffic(
            self._maps.real_traffic,
            self._maps.real_lives,
            self._codec.real_live,
            in_service.values(),
        )
        control = self._codec.control
        reasons = tuple(
            _reason(name, self._maps.reasons.sum(number)[0])
            for number, name in self._codec.reasons.items()
        )
        return Counters(
            services={name: services[number] for name, number in self._services.items()},
            reals={key: reals[number] for key, number in in_service.items()},
            reasons=reasons,
            flows=self._maps.controls.load32(0, control.offset("flows")),
            max_flows=self._datapath.max_flows,
        )

    def readings(self, figures: Collection[Figure]) -> Readings:
        services, reals = self._places or self._placed()
        maps, codec = self._maps, self._codec
        most = max((real.id for real in self._reals.values()), default=0) + 1
        columns = self._outcomes.sums(figures, most)
        columns.update(
            self._columns(
                figures, maps.real_traffic, maps.real_lives, codec.real_live, most
            ).items()
        )
        most = max(services.values(), default=0) + 1
        begun = self._columns(
            figures, maps.service_traffic, maps.service_lives, codec.service_live, most
        )
        pools = {name: pool.id for name, pool in self._pools.items()}
        sums = self._pool_figures.sums(columns)
        return Readings(
            services=Table(services, self._outcomes.services(figures, begun, most)),
            pools=self._outcomes.pools(self._pool_figures.places, sums, pools),
            reals=self._outcomes.reals(reals, columns),
        )

    def _placed(self) -> tuple[dict[str, int], dict[RealKey, int]]:
        """Who has which number; the same objects until something comes or goes."""
        self._places = (
            dict(self._services),
            {key: real.id for key, real in self._reals.items() if not real.retired},
        )
        numbers = ((key, real.id) for key, real in self._reals.items())
        self._pool_figures.place(self._pools, numbers)
        return self._places

    # -- one object --------------------------------------------------------------------

    def live(self, real: int) -> int:
        """Flows that a real server has."""
        return self._maps.real_lives.load32(real, self._codec.real_live.offset("conns"))

    def service_live(self, service: int) -> int:
        at = self._codec.service_live.offset("conns")
        return self._maps.service_lives.load32(service, at)

    def errors_in_a_row(self, real: int) -> int:
        """Connects that a real server has refused since the last that it did not."""
        at = self._codec.real_live.offset("errors_in_a_row")
        return self._maps.real_lives.load32(real, at)

    def _last_figures(self, number: int) -> dict[Column, int]:
        """What a real server has counted in all."""
        counted, fields = self._maps.real_traffic.sum(number), self._codec.traffic.fields
        total = self._maps.real_lives.load64(number, self._codec.real_live.offset("total"))
        return {
            **dict.fromkeys(_BEGUN, total),
            **self._outcomes.last_sums(number),
            Figure.ERRORS: self._maps.real_lives.load32(
                number, self._codec.real_live.offset("errors")
            ),
            Figure.BYTES_IN: counted[fields["bytes_in"].offset // 8],
            Figure.BYTES_OUT: counted[fields["bytes_out"].offset // 8],
        }

    def _columns(
        self,
        figures: Collection[Figure],
        counters: PerCpuArray,
        lives: ArrayMap,
        layout: Layout,
        count: int,
    ) -> dict[Figure, Sequence[int]]:
        """Of the first *count* numbers."""
        found: dict[Figure, Sequence[int]] = {}
        if Figure.LIVE in figures:
            words, step = lives.words, lives.stride // 4
            found[Figure.LIVE] = words[layout.offset("conns") // 4 : count * step : step].tolist()
        if Figure.ERRORS in figures and "errors" in layout.fields:  # real servers make them
            words, step = lives.words, lives.stride // 4
            errors = words[layout.offset("errors") // 4 : count * step : step]
            found[Figure.ERRORS] = errors.tolist()
        begun = _BEGUN & set(figures)
        if begun:
            quads, step = lives.quads, lives.stride // 8
            totals = quads[layout.offset("total") // 8 : count * step : step].tolist()
            found |= dict.fromkeys(begun, totals)
        if {Figure.BYTES_IN, Figure.BYTES_OUT} & set(figures):
            fields, columns = self._codec.traffic.fields, counters.columns(count)
            found[Figure.BYTES_IN] = columns[fields["bytes_in"].offset // 8]
            found[Figure.BYTES_OUT] = columns[fields["bytes_out"].offset // 8]
        return found

    def _traffic(
        self, counters: PerCpuArray, lives: ArrayMap, layout: Layout, numbers: Collection[int]
    ) -> dict[int, Traffic]:
        """The counters of services or reals, by number."""
        fields = self._codec.traffic.fields
        columns = counters.columns(max(numbers, default=0) + 1)
        packets_in, bytes_in, packets_out, bytes_out = (
            columns[fields[name].offset // 8]
            for name in ("packets_in", "bytes_in", "packets_out", "bytes_out")
        )
        conns, total = layout.offset("conns"), layout.offset("total")
        return {
            number: Traffic(
                live=lives.load32(number, conns),
                total=lives.load64(number, total),
                packets_in=packets_in[number],
                bytes_in=bytes_in[number],
                packets_out=packets_out[number],
                bytes_out=bytes_out[number],
            )
            for number in numbers
        }


def _reason(name: str, count: int) -> ReasonCount:
    verdict, _, rest = name.lower().partition("_")
    return ReasonCount(rest, Verdict(verdict), count)
