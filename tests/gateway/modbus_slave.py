"""A Modbus slave by other hands (pymodbus), at address 9: `modbus_slave.py tcp|rtu-over-tcp PORT` or `rtu|ascii PATH`."""
import struct
import sys

from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext, ModbusSparseDataBlock
from pymodbus.server import StartSerialServer, StartTcpServer
from pymodbus.transaction import ModbusAsciiFramer, ModbusRtuFramer, ModbusSocketFramer

temperature = struct.unpack(">HH", struct.pack(">f", 21.5))


def text(words, length):
    return list(struct.unpack(f">{length}H", words.encode().ljust(length * 2, b"\0")))


# SunSpec from 40000: model 1, an inverter of three phases (its power in tens of watts), one that nobody knows, the end.
common = text("Acme", 16) + text("Sun 5", 16) + text("", 8) + text("1.2", 8) + text("007", 16) + [1, 0]
inverter = [0xFFFF] * 12 + [512, 1] + [0xFFFF] * 36
sunspec = [0x5375, 0x6E53, 1, 66, *common, 103, 50, *inverter, 64_900, 2, 0, 0, 0xFFFF, 0]
holding = {**{r: 100 + r for r in range(150)}, **{40_000 + i: word for i, word in enumerate(sunspec)}}
slave = ModbusSlaveContext(
    co=ModbusSequentialDataBlock(0, [1, 0, 1, 1] + [0] * 28),
    di=ModbusSequentialDataBlock(0, [0, 1] + [0] * 30),
    hr=ModbusSparseDataBlock(holding),
    ir=ModbusSequentialDataBlock(0, [*temperature, 0xFFFE, 7] + [0] * 28),
    zero_mode=True,
)
context = ModbusServerContext(slaves={9: slave}, single=False)
framer = {"tcp": ModbusSocketFramer, "ascii": ModbusAsciiFramer}.get(sys.argv[1], ModbusRtuFramer)
if sys.argv[1].endswith("tcp"):
    StartTcpServer(context=context, framer=framer, address=("127.0.0.1", int(sys.argv[2])), allow_reuse_address=True)
else:
    StartSerialServer(context=context, framer=framer, port=sys.argv[2], baudrate=19200)
