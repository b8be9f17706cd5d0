namespace Vmm.Tool;

/// <summary>What a load reads and writes.</summary>
internal enum BlockAccess
{
    RandomRead,
    RandomWrite,
    Read,
    Write,
    RandomReadWrite,
}

/// <summary>What a load on a disk looks like.</summary>
/// <param name="Queues">Rings, each with a thread of its own.</param>
/// <param name="Depth">Requests in flight on each ring.</param>
/// <param name="Bytes">Of each request, a multiple of 512.</param>
/// <param name="Access">What is read and written.</param>
/// <param name="Verify">Whether every byte that is read is compared with what was written.</param>
/// <param name="Poll">Whether the driver looks for answers instead of waiting for calls.</param>
/// <param name="Cpus">Processors the rings' threads are kept on.</param>
internal sealed record BlockLoadOptions(int Queues, int Depth, int Bytes, BlockAccess Access, bool Verify,
    bool Poll, IReadOnlyList<int> Cpus)
{
    internal bool Writes => Access is not (BlockAccess.RandomRead or BlockAccess.Read);
}
