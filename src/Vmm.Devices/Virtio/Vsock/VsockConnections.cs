using System.Numerics;
using System.Runtime.InteropServices;

namespace Vmm.Devices;

/// <summary>
/// The connections of a device: by their ports, bounded in number and in the credit they are given. Objects are kept for the next
/// connection.
/// </summary>
internal sealed class VsockConnections(VsockDevice device, int connectionsMax)
{
    /// <summary>
    /// Credit of all connections together, before each gets the least only: with the least for every connection it is the most that guests
    /// can have the host keep for them.
    /// </summary>
    private const long CreditBytesMax = 128 << 20;

    private const int CreditShare = 64;
    private const int CreditMax = 256 * 1024;
    private const int CreditMin = 16 * 1024;

    // Where hosts of this convention begin to number their own ports.
    private const uint FirstHostPort = 1u << 30;

    private readonly Dictionary<ulong, VsockConnection> _byPorts = [];
    private readonly HashSet<VsockConnection> _live = [];
    private readonly Stack<VsockConnection> _pool = new();
    // The guest chooses its ports. Multiplied by an odd number that it can't know they stay different, and it can't choose them to collide.
    private readonly ulong _secret = Secret() | 1;
    private long _credit;
    private uint _nextHostPort = FirstHostPort;
    private int _count;

    /// <summary>Connections that are not in the pool. Any thread.</summary>
    internal int Count => Volatile.Read(ref _count);

    internal IReadOnlyCollection<VsockConnection> Live => _live;

    internal VsockConnection? Find(uint guestPort, uint hostPort) => _byPorts.GetValueOrDefault(KeyOf(guestPort, hostPort));

    /// <summary>A connection without ports yet.</summary>
    /// <returns>Null if there are as many as there may be.</returns>
    internal VsockConnection? Rent()
    {
        if (_live.Count >= connectionsMax) return null;
        VsockConnection connection = _pool.TryPop(out VsockConnection? used) ? used : new VsockConnection(device);
        _live.Add(connection);
        Volatile.Write(ref _count, _live.Count);
        return connection;
    }

    /// <summary>Makes a connection known by its ports, and gives it credit.</summary>
    internal int Register(VsockConnection connection, uint guestPort, uint hostPort)
    {
        _byPorts.Add(KeyOf(guestPort, hostPort), connection);
        // A power of two, less for each as there are more: a few connections are fast, many are bounded.
        long share = Math.Clamp((CreditBytesMax - _credit) / CreditShare, CreditMin, CreditMax);
        int granted = 1 << BitOperations.Log2((ulong)share);
        _credit += granted;
        return granted;
    }

    /// <summary>A port of the host that no connection to a port of the guest has.</summary>
    internal uint TakeHostPort(uint guestPort)
    {
        // There are more of them than connections.
        do
        {
            _nextHostPort = FirstHostPort | ((_nextHostPort + 1) & (FirstHostPort - 1));
        }
        while (Find(guestPort, _nextHostPort) is not null);
        return _nextHostPort;
    }

    /// <summary>Ends a connection without a word.</summary>
    internal void Return(VsockConnection connection)
    {
        if (!_live.Remove(connection)) return;
        Volatile.Write(ref _count, _live.Count);
        if (connection.Granted > 0) _byPorts.Remove(KeyOf(connection.GuestPort, connection.HostPort));
        _credit -= connection.Granted;
        connection.Clear();
        _pool.Push(connection);
    }

    /// <summary>From the kernel: the runtime's own generator loads a library that a small host does not have.</summary>
    private static ulong Secret()
    {
        ulong secret = 0;
        EntropySource.Kernel.Fill(MemoryMarshal.AsBytes(new Span<ulong>(ref secret)));
        return secret;
    }

    private ulong KeyOf(uint guestPort, uint hostPort) => (((ulong)guestPort << 32) | hostPort) * _secret;
}
