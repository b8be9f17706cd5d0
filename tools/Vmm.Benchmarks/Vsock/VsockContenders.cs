namespace Vmm.Benchmarks;

/// <summary>The guest writes, to each of its streams in turn; programs of the host read.</summary>
internal sealed class VsockSender(int kibibytes, bool packed, int streams = 1) : IContender
{
    private readonly VsockMachine _machine = new(packed, hostWrites: false, bufferKibibytes: 4, streams);
    private readonly byte[] _bytes = new byte[kibibytes * 1024];

    public int Quantum => streams;

    public void Run(long operations)
    {
        foreach (RelayBaseline.HostEnd host in _machine.Hosts) host.Begin(operations / streams * _bytes.Length, _bytes.Length);
        for (long i = 0; i < operations; i++) _machine.Driver.Write((int)(i % streams), _bytes);
        foreach (RelayBaseline.HostEnd host in _machine.Hosts) host.Finish();
    }

    public void Dispose() => _machine.Dispose();
}

/// <summary>A program of the host writes, the guest reads.</summary>
internal sealed class VsockReceiver(int kibibytes, int bufferKibibytes) : IContender
{
    private readonly VsockMachine _machine = new(packed: false, hostWrites: true, bufferKibibytes);
    private readonly byte[] _bytes = new byte[VsockDriver.PacketBytesMax];

    public void Run(long operations)
    {
        long bytes = operations * kibibytes * 1024;
        _machine.Hosts[0].Begin(bytes, kibibytes * 1024);
        for (long read = 0; read < bytes;) read += _machine.Driver.Read(_bytes);
        _machine.Hosts[0].Finish();
    }

    public void Dispose() => _machine.Dispose();
}
