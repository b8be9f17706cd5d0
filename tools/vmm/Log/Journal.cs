using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using Vmm.Devices;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>
/// systemd's journal, which takes an entry with fields of its own as one datagram (systemd.journal-fields(7), "Native Journal Protocol").
/// No thread waits for it. Thread-safe.
/// </summary>
internal sealed class Journal
{
    private const string Path = "/run/systemd/journal/socket";

    private readonly ISerialOutput _socket;

    private Journal(ISerialOutput socket) => _socket = socket;

    /// <summary>
    /// Connects, while the process may still make sockets. A socket of the runtime starts a thread, which may not be before a sandbox.
    /// </summary>
    /// <returns>Null where there is none.</returns>
    internal static Journal? TryConnect() => SerialOutput.TryConnect(Path) is { } socket ? new Journal(socket) : null;

    /// <returns>False if it does not take the entry now: it is busy, or started again.</returns>
    internal bool TryWrite(LogEntry entry)
    {
        byte[] fields = FieldsOf(entry);
        return _socket.Write(fields, out int written) == Errno.None && written == fields.Length;
    }

    private static byte[] FieldsOf(LogEntry entry)
    {
        MemoryStream fields = new();
        Add("MESSAGE", entry.Message);
        Add("PRIORITY", LogFormat.PriorityOf(entry.Level).ToString(CultureInfo.InvariantCulture));
        Add("SYSLOG_IDENTIFIER", "vmm");
        Add("VMM_CATEGORY", entry.Category);
        Add("VMM_EVENT", entry.Event);
        Add("VMM_DEVICE", entry.Device);
        Add("VMM_EXCEPTION", entry.Exception);
        return fields.ToArray();

        void Add(string name, string? value)
        {
            if (value is null) return;
            byte[] bytes = Encoding.UTF8.GetBytes(value);
            fields.Write(Encoding.ASCII.GetBytes(name));
            if (bytes.Contains((byte)'\n'))
            {
                // A value of several lines has its length before it.
                fields.WriteByte((byte)'\n');
                Span<byte> length = stackalloc byte[sizeof(ulong)];
                BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)bytes.Length);
                fields.Write(length);
            }
            else
            {
                fields.WriteByte((byte)'=');
            }
            fields.Write(bytes);
            fields.WriteByte((byte)'\n');
        }
    }
}
