namespace Vmm.Benchmarks;

/// <summary>The guest writes, a program of the host reads.</summary>
internal sealed class VsockSender(int kibibytes, bool packed) : IContender
{
    private readonly VsockMachine _machine = new(packed, hostWrites: false, bufferKibibytes: 4);
    private readonly byte[] _bytes = new byte[kibibytes * 1024];

    public void Run(long operations)
    {
        _machine.Host.Begin(operations * _bytes.Length, _bytes.Length);
        for (long i = 0; i < operations; i++) _machine.Driver.Write(_bytes);
        _machine.Host.Finish();
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
        _machine.Host.Begin(bytes, kibibytes * 1024);
        for (long read = 0; read < bytes;) read += _machine.Driver.Read(_bytes);
        _machine.Host.Finish();
    }

    public void Dispose() => _machine.Dispose();
}
